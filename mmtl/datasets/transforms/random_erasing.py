from typing import Any

import numpy as np
from mmpretrain.datasets import transforms as mmpretrain_transforms

from mmtl.datasets.transforms.geometry import crop_affine
from mmtl.datasets.transforms.view import image_hw
from mmtl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomErasing(mmpretrain_transforms.RandomErasing):
    """mmpretrain's RandomErasing that can tell which part of the image has no picture left.

    Args:
        *args: Of the parent, as are the keyword arguments.
        mask_labels: False: erased tokens keep their label, as the released code does. True: the erased box
            is handed on, for the data preprocessor to take the tokens under it out of the loss. Each such
            transform in a pipeline contributes one box to every sample, an empty one where it did not erase.
    """

    def __init__(self, *args: Any, mask_labels: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mask_labels = mask_labels

    def random_patch(self, img_h: int, img_w: int) -> tuple[int, int, int, int]:
        """The parent's draw (top, left, height, width), kept for the box."""
        self._drawn_tlhw = super().random_patch(img_h, img_w)
        return self._drawn_tlhw

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Erases, or not, and records the box as a map from its unit square to the image's."""
        self._drawn_tlhw = (0, 0, 0, 0)
        results = super().transform(results)
        if self.mask_labels:
            top, left, height, width = self._drawn_tlhw
            box = crop_affine((left, top, left + width, top + height), image_hw(results))
            results["erased_affines"] = np.stack([*results.get("erased_affines", ()), box])
        return results

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, mask_labels={self.mask_labels})"
