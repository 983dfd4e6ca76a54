from typing import Any

import numpy as np
from mmpretrain.datasets import transforms as mmpretrain_transforms

from mmtl.datasets.transforms.draws import check_order, record_draw, undecorated
from mmtl.datasets.transforms.geometry import crop_affine
from mmtl.datasets.transforms.view import image_hw, is_bgr8
from mmtl.registry import TRANSFORMS
from mmtl.utils.augment_draws import NUM_SEEDS, Operation

random_disable = undecorated(mmpretrain_transforms.RandomErasing, "random_disable")


@TRANSFORMS.register_module()
class RandomErasing(mmpretrain_transforms.RandomErasing):
    """mmpretrain's RandomErasing with boxes smaller than the image, which can record what it erased.

    With ``on_device``, and if only erasing follows on the device, the normalized image is filled with noise that is
    neither rounded nor clipped. Images of other than three channels are erased only so, with the mean of
    ``data_preprocessor`` (mode 'const') or noise of its mean and std ('rand' with any ``fill_std``).

    Args:
        *args: of the parent, as are the keyword arguments.
        mask_labels: False: erased tokens keep their label, as in the released code. True: record the erased box, so
            that the data preprocessor takes the tokens under it out of the loss. Each such transform in a pipeline
            adds one box to every sample, an empty one if it did not erase.
        on_device: record the box and a seed of the noise for the data preprocessor in place of erasing here.
    """

    def __init__(self, *args: Any, mask_labels: bool = False, on_device: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mask_labels, self.on_device = mask_labels, on_device

    def random_patch(self, img_h: int, img_w: int) -> tuple[int, int, int, int]:
        """Return the parent's draw (top, left, height, width) and keep it for the box.

        As in timm, a box that is not smaller than the image is drawn again, and after ten of them nothing is erased.
        """
        for _ in range(10):
            self._drawn_tlhw = super().random_patch(img_h, img_w)  # the parent cuts boxes to the image
            if self._drawn_tlhw[2] < img_h and self._drawn_tlhw[3] < img_w:
                return self._drawn_tlhw
        self._drawn_tlhw = (0, 0, 0, 0)
        return self._drawn_tlhw

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Erase or not, and record the box as a map from its unit square to the image's."""
        self._drawn_tlhw = (0, 0, 0, 0)
        self._check_image(results)
        if self.on_device:
            self._draw(results)
        else:
            check_order(results, "RandomErasing")
            results = super().transform(results)
        if self.mask_labels:
            top, left, height, width = self._drawn_tlhw
            box = crop_affine((left, top, left + width, top + height), image_hw(results))
            results["erased_affines"] = np.stack([*results.get("erased_affines", ()), box])
        return results

    def _check_image(self, results: dict[str, Any]) -> None:
        image = results["img"]
        if is_bgr8(image):
            return
        is_uniform, has_three = self.mode == "rand" and self.fill_std is None, image.shape[2:] == (3,)
        if is_uniform or not (has_three or self.on_device):
            raise ValueError(
                f"{results.get('img_path')}: RandomErasing needs on_device=True, and mode='const' or fill_std, for "
                f"images that are not BGR of 8 bit, got {image.dtype} {image.shape}."
            )

    def _draw(self, results: dict[str, Any]) -> None:
        if random_disable(self):
            record_draw(results, Operation.IDENTITY)
            return
        top, left, height, width = self.random_patch(*image_hw(results))
        box_xyxy, seed = (left, top, left + width, top + height), np.random.randint(NUM_SEEDS)
        if self.mode == "rand" and self.fill_std is None:
            record_draw(results, Operation.ERASE_UNIFORM, box_xyxy=box_xyxy, seed=seed)
        else:  # a constant is normal noise without variance
            std = self.fill_std if self.mode == "rand" else 0
            record_draw(results, Operation.ERASE_NORMAL, box_xyxy=box_xyxy, fill=self.fill_color, std=std, seed=seed)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, mask_labels={self.mask_labels}, on_device={self.on_device})"
