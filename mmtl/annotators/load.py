"""Load the annotator that a command line names."""

from pathlib import Path

from mmtl.annotators.annotator import Annotator, Inference
from mmtl.annotators.load_lite import PREFIX as LITE_PREFIX
from mmtl.annotators.load_lite import load_lite
from mmtl.annotators.load_mmpretrain import load_mmpretrain
from mmtl.annotators.load_timm import PREFIX, load_timm


def load_annotator(
    config: str, weights: str | None, device: str, inference: Inference, input_hw: tuple[int, int] | None = None
) -> Annotator:
    """Load a classifier of MMPretrain, timm or a package, and convert it to dense prediction.

    Args:
        config: MMPretrain config file or model name, timm/NAME or lite/efficientnet_lite0 (see `load_lite`).
        weights: weights file, "random", or "pretrained" for a name of timm or MMPretrain; lite/NAME needs none.
        device: where it runs.
        inference: how it is run.
        input_hw: input size in pixels for timm models with a settable one.

    Raises:
        FileNotFoundError: Config or weights do not exist.
        ValueError: They do not fit, or the model cannot be converted to dense prediction.
        ImportError: timm is needed and not installed.
    """
    if config.startswith(LITE_PREFIX):
        return load_lite(config, weights, device, inference, input_hw)
    if weights is None:
        is_name = config.startswith(PREFIX) or not Path(config).suffix
        raise ValueError(f"{config}: give {'--pretrained, ' * is_name}a checkpoint, or `random` for random weights.")
    if config.startswith(PREFIX):
        return load_timm(config, weights, device, inference, input_hw)
    return load_mmpretrain(config, weights, device, inference)
