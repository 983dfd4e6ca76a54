"""Transforms of other packages that move pixels without telling the view, and so leave the score map behind."""

from collections.abc import Iterator, Sequence
from typing import Any

MOVING = frozenset(
    # mmcv and MMPretrain
    """Albumentations CenterCrop EfficientNetCenterCrop EfficientNetRandomCrop MAERandomResizedCrop Pad
    RandomChoiceResize RandomCrop RandomFlip RandomResize RandomResizedCrop RandomResizedCropAndInterpolationWithTwoPic
    RandomTranslatePad Resize ResizeEdge Rotate Shear Translate"""
    # torchvision
    """ ElasticTransform FiveCrop RandomAffine RandomHorizontalFlip RandomPerspective RandomRotation RandomVerticalFlip
    RandomZoomOut ScaleJitter TenCrop""".split()
)


def untracked(steps: Sequence[Any]) -> Iterator[str]:
    """Names of the steps, and of those inside them, that move pixels unseen.

    Args:
        steps: transforms of a pipeline; lists of them and transforms that hold others are looked into.
    """
    for step in steps:
        if isinstance(step, list | tuple):
            yield from untracked(step)
            continue
        inner = getattr(step, "t", step)  # MMPretrain's wrapper of a torchvision transform
        if type(inner).__name__ in MOVING and not type(inner).__module__.startswith("mmtl."):
            yield type(inner).__name__
        yield from untracked(getattr(inner, "transforms", ()))
