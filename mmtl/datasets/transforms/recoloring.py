"""Transforms that change colors in the data-loader worker, where an online annotator cannot get the original ones."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmtl.datasets.transforms.nested_steps import nested_steps

RECOLORING = frozenset(
    # mmcv and MMPretrain
    """Albumentations AutoContrast Brightness ColorJitter ColorTransform Contrast Cutout Equalize GaussianBlur Invert
    Lighting Normalize PhotoMetricDistortion Posterize RandomErasing RandomGrayscale Sharpness Solarize SolarizeAdd"""
    # torchvision
    """ AugMix AutoAugment GaussianNoise Grayscale RandAugment RandomAdjustSharpness RandomAutocontrast
    RandomChannelPermutation RandomEqualize RandomInvert RandomPhotometricDistort RandomPosterize RandomSolarize
    TrivialAugmentWide""".split()
)


def recoloring(steps: Sequence[Any]) -> Iterator[str]:
    """Yield the names of the steps, and of those inside them, that change or erase pixels' colors in the worker.

    Args:
        steps: transforms of a pipeline, also lists of them and transforms that contain others.
    """
    for step in nested_steps(steps, skip=lambda step: getattr(step, "on_device", False)):
        if type(step).__name__ in RECOLORING and not getattr(step, "transforms", ()):
            yield type(step).__name__
