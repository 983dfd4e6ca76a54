"""RGB images of images of any channels and values."""

import numpy as np

PERCENTILES = (2, 98)


def rgb_of(image: np.ndarray, is_bgr: bool = True) -> np.ndarray:
    """Return an image to draw: the first three channels, or the first of fewer than three.

    Args:
        image: [H, W] or [H, W, C]. Values of other types than uint8 are scaled from their 2nd and 98th percentile.
        is_bgr: whether the first three channels are blue, green and red.

    Returns:
        uint8 [H, W, 3].
    """
    image = image.reshape(*image.shape[:2], -1)
    image = image[..., :3] if image.shape[2] >= 3 else image[..., :1].repeat(3, axis=2)
    if image.dtype != np.uint8:
        image = np.nan_to_num(image.astype(np.float32))
        low, high = np.percentile(image, PERCENTILES)
        image = ((image - low) / max(high - low, np.finfo(np.float32).tiny)).clip(0, 1)
        image = (image * 255).round().astype(np.uint8)
    return np.ascontiguousarray(image[..., ::-1] if is_bgr else image)
