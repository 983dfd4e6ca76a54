from typing import Any
from zlib import crc32

import numpy as np
from mmcv.transforms import BaseTransform

from mmtl.registry import TRANSFORMS

#: The 15 corruptions of ImageNet-C's mean corruption error, in the order of the paper.
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
#: Further corruptions, for validation.
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
SEVERITIES = (1, 2, 3, 4, 5)
MIN_SIDE = 32
WITH_SEED = ("glass_blur", "impulse_noise")  # draw from a generator of their own


@TRANSFORMS.register_module()
class Corrupt(BaseTransform):
    """Apply a corruption of ImageNet-C, made by the package imagecorruptions-imaug.

    The strengths are those for ImageNet at 224 x 224 pixels. The same pixels get the same random draws.

    Args:
        corruption: one of the 15 of the benchmark, or 'speckle_noise', 'gaussian_blur', 'spatter', 'saturate'.
        severity: 1 to 5.

    Required Keys: img, uint8 [H, W, 3] BGR of at least 32 x 32 pixels. Modified Keys: img.

    Raises:
        ImportError: The package is missing.
        ValueError: An option or the image is invalid.
    """

    def __init__(self, corruption: str, severity: int) -> None:
        if corruption not in CORRUPTIONS + EXTRA_CORRUPTIONS:
            known = ", ".join(CORRUPTIONS + EXTRA_CORRUPTIONS)
            raise ValueError(f"corruption must be one of {known}, got {corruption!r}.")
        if severity not in SEVERITIES:
            raise ValueError(f"severity must be 1 to 5, got {severity!r}.")
        try:
            import imagecorruptions  # noqa: F401
        except ImportError as error:
            text = f"Corrupt needs a package ({error}). Install it with: pip install imagecorruptions-imaug"
            raise ImportError(text) from None
        self.corruption, self.severity = corruption, severity
        if corruption == "glass_blur":  # compiled by numba at the first call: once here, not in every worker
            self.transform({"img": np.zeros((MIN_SIDE, MIN_SIDE, 3), np.uint8)})

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Corrupt the image."""
        from imagecorruptions import corrupt

        image = results["img"]
        if image.dtype != np.uint8 or image.shape[2:] != (3,) or min(image.shape[:2]) < MIN_SIDE:
            raise ValueError(
                f"{results.get('img_path')}: img must be uint8 [H, W, 3] with sides of at least {MIN_SIDE} pixels, "
                f"got {image.dtype} {list(image.shape)}. Resize it first."
            )
        seed = crc32(np.ascontiguousarray(image))
        own_seed = {"seed": seed} if self.corruption in WITH_SEED else {}
        state = np.random.get_state()
        np.random.seed(seed)
        try:
            rgb = corrupt(np.ascontiguousarray(image[..., ::-1]), self.severity, self.corruption, **own_seed)
        finally:
            np.random.set_state(state)
        results["img"] = np.ascontiguousarray(rgb[..., ::-1])
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(corruption={self.corruption!r}, severity={self.severity})"
