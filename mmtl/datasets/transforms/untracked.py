"""Transforms of other packages that move pixels without updating the view, and so misplace the score map."""

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
    """Yield the names of the steps, and of those inside them, that move pixels without updating the view.

    Args:
        steps: transforms of a pipeline, also lists of them and transforms that contain others.
    """
    for step in steps:
        if isinstance(step, list | tuple):
            yield from untracked(step)
            continue
        inner = getattr(step, "t", step)  # MMPretrain's wrapper of a torchvision transform
        if type(inner).__name__ in MOVING and not type(inner).__module__.startswith("mmtl."):
            yield type(inner).__name__
        yield from untracked(getattr(inner, "transforms", ()))
