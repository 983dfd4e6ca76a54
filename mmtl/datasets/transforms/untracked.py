"""Transforms of other packages that move pixels without updating the view, and so misplace the score map."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmtl.datasets.transforms.nested_steps import nested_steps

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
    for step in nested_steps(steps):
        if type(step).__name__ in MOVING and not type(step).__module__.startswith("mmtl."):
            yield type(step).__name__
