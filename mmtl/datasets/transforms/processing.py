"""OpenMMLab's crops, flips and resizes that also update the sample's ``view_affine``.

Every class inherits its draw and its pixel operation. Arguments are those of the parent class unless listed.
"""

import bisect
import itertools
from collections.abc import Sequence
from typing import Any

import cv2
import mmcv.transforms
import numpy as np
import torch
from mmpretrain.datasets import transforms as mmpretrain_transforms
from torch.nn import functional as F

from mmtl.datasets.transforms.draws import cached_draw, record_draw, undecorated
from mmtl.datasets.transforms.geometry import crop_affine, flip_affine, identity_affine, pad_affine
from mmtl.datasets.transforms.view import image_hw, move_view
from mmtl.registry import TRANSFORMS
from mmtl.utils.augment_draws import Operation

FLIPS = {
    "horizontal": Operation.FLIP_HORIZONTAL,
    "vertical": Operation.FLIP_VERTICAL,
    "diagonal": Operation.FLIP_DIAGONAL,
}

rand_crop_params = undecorated(mmpretrain_transforms.RandomResizedCrop, "rand_crop_params")


@TRANSFORMS.register_module()
class RandomResizedCrop(mmpretrain_transforms.RandomResizedCrop):
    """mmpretrain's RandomResizedCrop that updates the view and can draw the interpolation of each image.

    Args:
        scale: output size, an int or (height, width).
        interpolation: a name as in mmcv; a sequence of names to draw from; or 'random', bilinear or bicubic with
            equal probability as in timm's training pipeline.
        backend: 'cv2' or 'pillow' of mmcv, or 'torch': PyTorch's antialiased resize of uint8, at most one gray level
            from Pillow's for nearly all pixels and about five times as fast; bilinear and bicubic only.
        **kwargs: ``crop_ratio_range``, ``aspect_ratio_range``, ``max_attempts`` of the parent.
    """

    def __init__(
        self,
        scale: int | Sequence[int],
        interpolation: str | Sequence[str] = "bilinear",
        backend: str = "cv2",
        **kwargs: Any,
    ) -> None:
        if interpolation == "random":
            interpolation = ("bilinear", "bicubic")
        self.interpolations = (interpolation,) if isinstance(interpolation, str) else tuple(interpolation)
        if not self.interpolations:
            raise ValueError(
                "interpolation must name at least one method, got an empty sequence. Use 'random' or a name."
            )
        for name in self.interpolations:  # the parent checks one name
            if backend == "torch" and name not in ("bilinear", "bicubic"):
                raise ValueError(
                    f"interpolation must be 'bilinear' or 'bicubic' with backend='torch', got {name!r}. "
                    "Choose one of them, or backend='cv2'."
                )
            super().__init__(scale, interpolation=name, backend=backend, **kwargs)

    @cached_draw
    def random_interpolation(self) -> str:
        """Draw the interpolation of an image; a single one takes no random number."""
        if len(self.interpolations) == 1:
            return self.interpolations[0]
        return self.interpolations[np.random.randint(len(self.interpolations))]

    @cached_draw
    def rand_crop_params(self, img: np.ndarray) -> tuple[int, int, int, int]:
        """Return the parent's draw (top, left, height, width) and keep it for the view."""
        self._drawn_tlhw = rand_crop_params(self, img)
        return self._drawn_tlhw

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop, resize and update the view."""
        input_hw = image_hw(results)
        self.interpolation = self.random_interpolation()
        if self.backend == "torch":
            box_tlhw = self.rand_crop_params(results["img"])
            results["img"] = resized_crop(results["img"], box_tlhw, self.scale, self.interpolation)
            results["img_shape"] = results["img"].shape
        else:
            results = super().transform(results)
        top, left, height, width = self._drawn_tlhw
        move_view(results, input_hw, crop_affine((left, top, left + width, top + height), input_hw))
        return results

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, interpolations={self.interpolations})"


def resized_crop(
    image: np.ndarray, box_tlhw: tuple[int, int, int, int], size_hw: tuple[int, int], interpolation: str
) -> np.ndarray:
    """Cut a box out of an image [H, W] or [H, W, C] and resize it with antialiasing.

    The result is contiguous as [C, H, W], so that packing it needs no copy.
    """
    top, left, height, width = box_tlhw
    box = np.ascontiguousarray(image[top : top + height, left : left + width])
    # PyTorch is fastest, and copies nothing, if all strides are those of channels_last, the batch's included; views
    # made in NumPy take a fraction of PyTorch's time.
    box = torch.from_numpy(box.reshape(1, height, width, -1).transpose(0, 3, 1, 2))
    resized = F.interpolate(box, size_hw, mode=interpolation, antialias=True).numpy()[0]
    planes = np.empty(resized.shape, resized.dtype)
    cv2.split(resized.transpose(1, 2, 0), list(planes))  # several times as fast as a copy by NumPy or PyTorch
    return planes.transpose(1, 2, 0).reshape(*size_hw, *image.shape[2:])


@TRANSFORMS.register_module()
class RandomFlip(mmcv.transforms.RandomFlip):
    """mmcv's RandomFlip (horizontal, vertical, diagonal) that updates the view.

    Args:
        *args: of the parent, as are the keyword arguments.
        on_device: record the draw for the data preprocessor in place of flipping the image here.
    """

    def __init__(self, *args: Any, on_device: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_device = on_device
        self._directions = [self.direction] if isinstance(self.direction, str) else list(self.direction)
        prob = (
            self.prob if isinstance(self.prob, list) else [self.prob / len(self._directions)] * len(self._directions)
        )
        self._cumulative_prob = list(itertools.accumulate(prob))

    @cached_draw
    def _choose_direction(self) -> str | None:
        """Return the parent's draw for the same random number, without ``numpy.random.choice``, which is slow."""
        index = bisect.bisect_right(self._cumulative_prob, np.random.random_sample())
        return self._directions[index] if index < len(self._directions) else None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Flip or not, and record which, so that :func:`check_view` finds flips by other transforms."""
        results = super().transform(results)
        results["view_flip"] = results["flip"], results["flip_direction"]
        if self.on_device and not results["flip"]:
            record_draw(results, Operation.IDENTITY)
        return results

    def _flip(self, results: dict[str, Any]) -> None:
        if self.on_device:
            record_draw(results, FLIPS[results["flip_direction"]])
        else:
            super()._flip(results)
        move_view(results, image_hw(results), flip_affine(results["flip_direction"]))


class _ResizesWholeImage:
    """Mixin for a resize of the complete image: the view stays, only its image size changes."""

    def _resize_img(self, results: dict[str, Any]) -> None:
        input_hw = image_hw(results)
        super()._resize_img(results)
        move_view(results, input_hw, identity_affine())


@TRANSFORMS.register_module()
class Resize(_ResizesWholeImage, mmcv.transforms.Resize):
    """mmcv's Resize that updates the view."""


@TRANSFORMS.register_module()
class ResizeEdge(_ResizesWholeImage, mmpretrain_transforms.ResizeEdge):
    """mmpretrain's ResizeEdge that updates the view."""


@TRANSFORMS.register_module()
class Pad(mmcv.transforms.Pad):
    """mmcv's Pad (right and bottom) that updates the view; what it adds is outside the image in every padding mode."""

    def _pad_img(self, results: dict[str, Any]) -> None:
        input_hw = image_hw(results)
        super()._pad_img(results)
        height, width = image_hw(results)
        move_view(results, input_hw, pad_affine((0, 0, width - input_hw[1], height - input_hw[0]), input_hw))


@TRANSFORMS.register_module()
class CenterCrop(mmcv.transforms.CenterCrop):
    """mmcv's CenterCrop that updates the view, also when it pads first.

    Args:
        crop_size: size of the crop, an int or (width, height).
        auto_pad: pad an image that is smaller than the crop.
        pad_cfg: the padding transform, ``mmtl.Pad`` by default.
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
