"""The annotator that a command line names."""

from mmtl.annotators.annotator import Annotator, Inference
from mmtl.annotators.load_mmpretrain import RANDOM_WEIGHTS, load_mmpretrain
from mmtl.annotators.load_timm import PREFIX, load_timm


def load_annotator(
    config: str, weights: str | None, device: str, inference: Inference, input_hw: tuple[int, int] | None = None
) -> Annotator:
    """An MMPretrain or timm classifier, kept dense.

    Args:
        config: MMPretrain config file or model name, or timm/NAME.
        weights: Weights file, "random", or for timm "pretrained"; None is random for timm.
        device: Where it runs.
        inference: How it is run.
        input_hw: Input size to make a timm model for, if it is made for one.

    Raises:
        FileNotFoundError: Config or weights are missing.
        ValueError: They do not fit, or the model cannot be kept dense.
        ImportError: timm is wanted and not installed.
    """
    if config.startswith(PREFIX):
        return load_timm(config, weights or RANDOM_WEIGHTS, device, inference, input_hw)
    if weights is None:
        raise ValueError(f"{config}: give a checkpoint, or `random` for random weights.")
    return load_mmpretrain(config, weights, device, inference)
