"""OpenMMLab's crops, flips and resizes, each telling the sample's view what it did with the pixels.

Every class inherits its draw and its pixel work; nothing is drawn twice. Arguments are the parent class's.
"""

from collections.abc import Sequence
from typing import Any

import mmcv.transforms
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmpretrain.datasets import transforms as mmpretrain_transforms

from mmtl.datasets.transforms.geometry import crop_affine, flip_affine, identity_affine, pad_affine
from mmtl.datasets.transforms.view import image_hw, move_view
from mmtl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomResizedCrop(mmpretrain_transforms.RandomResizedCrop):
    """mmpretrain's RandomResizedCrop that keeps the view, with an interpolation drawn per image if wanted.

    Args:
        scale: Output size, an int or (height, width).
        interpolation: One of mmcv's names; a sequence of them to draw from; or ``'random'``, which is
            bilinear or bicubic with equal chance, as timm's training pipeline has it.
        **kwargs: ``crop_ratio_range``, ``aspect_ratio_range``, ``max_attempts``, ``backend`` of the parent.
    """

    # A list of its own: mmcv's decorator would otherwise append to the parent class's list.
    _methods_with_randomness = ["rand_crop_params"]

    def __init__(
        self, scale: int | Sequence[int], interpolation: str | Sequence[str] = "bilinear", **kwargs: Any
    ) -> None:
        if interpolation == "random":
            interpolation = ("bilinear", "bicubic")
        self.interpolations = (interpolation,) if isinstance(interpolation, str) else tuple(interpolation)
        if not self.interpolations:
            raise ValueError("interpolation is an empty sequence; name at least one, or use 'random'")
        for name in self.interpolations:  # the parent checks one name
            super().__init__(scale, interpolation=name, **kwargs)

    @cache_randomness
    def random_interpolation(self) -> str:
        """Draws this image's interpolation; a single one costs no random number."""
        if len(self.interpolations) == 1:
            return self.interpolations[0]
        return self.interpolations[np.random.randint(len(self.interpolations))]

    def rand_crop_params(self, img: np.ndarray) -> tuple[int, int, int, int]:
        """The parent's draw (top, left, height, width), kept for the view."""
        self._drawn_tlhw = super().rand_crop_params(img)
        return self._drawn_tlhw

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crops, resizes and moves the view."""
        input_hw = image_hw(results)
        self.interpolation = self.random_interpolation()
        results = super().transform(results)
        top, left, height, width = self._drawn_tlhw
        move_view(results, input_hw, crop_affine((left, top, left + width, top + height), input_hw))
        return results

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, interpolations={self.interpolations})"


@TRANSFORMS.register_module()
class RandomFlip(mmcv.transforms.RandomFlip):
    """mmcv's RandomFlip (horizontal, vertical, diagonal) that keeps the view."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Flips, or not, and leaves a receipt by which a flip that the view did not see is found."""
        results = super().transform(results)
        results["view_flip"] = results["flip"], results["flip_direction"]
        return results

    def _flip(self, results: dict[str, Any]) -> None:
        super()._flip(results)
        move_view(results, image_hw(results), flip_affine(results["flip_direction"]))


class _ResizesWholeImage:
    """A resize shows the whole of its input, so only the size for which the view holds changes."""

    def _resize_img(self, results: dict[str, Any]) -> None:
        input_hw = image_hw(results)
        super()._resize_img(results)
        move_view(results, input_hw, identity_affine())


@TRANSFORMS.register_module()
class Resize(_ResizesWholeImage, mmcv.transforms.Resize):
    """mmcv's Resize that keeps the view."""


@TRANSFORMS.register_module()
class ResizeEdge(_ResizesWholeImage, mmpretrain_transforms.ResizeEdge):
    """mmpretrain's ResizeEdge that keeps the view."""


@TRANSFORMS.register_module()
class Pad(mmcv.transforms.Pad):
    """mmcv's Pad (right and bottom) that keeps the view; what it adds is outside, also where it mirrors."""

    def _pad_img(self, results: dict[str, Any]) -> None:
        input_hw = image_hw(results)
        super()._pad_img(results)
        height, width = image_hw(results)
        move_view(results, input_hw, pad_affine((0, 0, width - input_hw[1], height - input_hw[0]), input_hw))


@TRANSFORMS.register_module()
class CenterCrop(mmcv.transforms.CenterCrop):
    """mmcv's CenterCrop that keeps the view, also when it pads first.

    Args:
        crop_size: Size of the crop, an int or (width, height).
        auto_pad: Pad an image that is smaller than the crop.
        pad_cfg: How; a ``mmtl.Pad`` by default.
        **kwargs: ``clip_object_border`` of the parent.
    """

    def __init__(
        self,
        crop_size: int | tuple[int, int],
        auto_pad: bool = False,
        pad_cfg: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        pad_cfg = {"type": "mmtl.Pad"} if pad_cfg is None else pad_cfg
        super().__init__(crop_size, auto_pad=auto_pad, pad_cfg=pad_cfg, **kwargs)

    def _crop_img(self, results: dict[str, Any], bboxes: np.ndarray) -> None:
        input_hw = image_hw(results)
        super()._crop_img(results, bboxes)
        left, top, last_x, last_y = (int(edge) for edge in bboxes)  # mmcv's boxes include their last pixel
        move_view(results, input_hw, crop_affine((left, top, last_x + 1, last_y + 1), input_hw))
