"""Affine maps between unit squares: the geometry of augmentation as pure functions.

Every map is a float64 array [2, 3] that takes (x, y, 1) of the unit square of a transform's *output* to
(x, y) of the unit square of its *input*, the way a warp looks pixels up. Chains therefore compose in the
order in which the transforms ran: ``compose(compose(first, second), third)``.

Convention:
    - x runs right, y runs down; the image's corners, not its outer pixel centers, are at 0 and 1.
    - Pixel index i has its center at (i + 0.5) / size.
    - Boxes are (x1, y1, x2, y2) between pixel edges; x2 and y2 are exclusive.
"""

import cv2
import numpy as np

IDENTITY = np.eye(2, 3)
FLIPPED_AXES = {"horizontal": (0,), "vertical": (1,), "diagonal": (0, 1)}


def identity_affine() -> np.ndarray:
    """Return the map of a resize, which shows its complete input whatever the sizes."""
    return IDENTITY.copy()  # a tenth of the time of numpy.eye


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Chain two maps: a point goes through ``inner`` first, then through ``outer``.

    Args:
        outer: [..., 2, 3], for a view the ``view_affine`` so far.
        inner: [..., 2, 3], the map of the transform that ran last.

    Returns:
        [..., 2, 3].
    """
    chained = outer[..., :2] @ inner
    chained[..., 2] += outer[..., 2]
    return chained


def invert(affine: np.ndarray) -> np.ndarray:
    """Return the inverse map; a singular one raises ``numpy.linalg.LinAlgError``."""
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate([linear, -linear @ affine[..., 2:]], axis=-1)


def crop_affine(box_xyxy: tuple[float, float, float, float], image_hw: tuple[int, int]) -> np.ndarray:
    """Return the map of cutting ``box_xyxy`` (pixels, may extend over the border) out of an image of ``image_hw``."""
    height, width = image_hw
    x1, y1, x2, y2 = box_xyxy
    return np.array([[(x2 - x1) / width, 0.0, x1 / width], [0.0, (y2 - y1) / height, y1 / height]])


def pad_affine(padding_ltrb: tuple[int, int, int, int], image_hw: tuple[int, int]) -> np.ndarray:
    """Return the map of adding (left, top, right, bottom) pixels around an image of ``image_hw``."""
    height, width = image_hw
    left, top, right, bottom = padding_ltrb
    return crop_affine((-left, -top, width + right, height + bottom), image_hw)


def flip_affine(direction: str) -> np.ndarray:
    """Return the map of a flip: 'horizontal' swaps left and right, 'vertical' top and bottom, 'diagonal' both."""
    if direction not in FLIPPED_AXES:
        raise ValueError(f"Flip direction must be one of {sorted(FLIPPED_AXES)}, got {direction!r}.")
    affine = identity_affine()
    for axis in FLIPPED_AXES[direction]:
        affine[axis] = -affine[axis]
        affine[axis, 2] = 1.0
    return affine


def pixel_affine_to_unit(affine: np.ndarray, input_hw: tuple[int, int], output_hw: tuple[int, int]) -> np.ndarray:
    """Convert a map between pixel indices to one between unit squares.

    Args:
        affine: [2, 3], output pixel index (x, y) -> input pixel index (x, y), integers being pixel centers, as
            ``cv2.warpAffine`` counts with ``WARP_INVERSE_MAP``.
        input_hw: size of the image that is read, in pixels.
        output_hw: size of the image that is written, in pixels.

    Returns:
        [2, 3].
    """
    to_index = np.array([[output_hw[1], 0.0, -0.5], [0.0, output_hw[0], -0.5]])
    from_index = np.array([[1 / input_hw[1], 0.0, 0.5 / input_hw[1]], [0.0, 1 / input_hw[0], 0.5 / input_hw[0]]])
    return compose(compose(from_index, affine), to_index)


def rotate_affine(
    angle: float, image_hw: tuple[int, int], center_xy: tuple[float, float] | None = None, scale: float = 1.0
) -> np.ndarray:
    """Return the map of ``mmcv.imrotate``.

    Args:
        angle: degrees, positive for clockwise.
        image_hw: size of the image, in pixels.
        center_xy: pixel index (x, y) of the fixed point; None for the middle of the image.
        scale: factor about the center, above 1 to enlarge.

    Returns:
        [2, 3].
    """
    height, width = image_hw
    center_xy = ((width - 1) / 2, (height - 1) / 2) if center_xy is None else center_xy
    forward = cv2.getRotationMatrix2D(center_xy, -angle, scale)
    return pixel_affine_to_unit(invert(forward), image_hw, image_hw)


def shear_affine(magnitude: float, direction: str, image_hw: tuple[int, int]) -> np.ndarray:
    """Return the map of ``mmcv.imshear``: pixel (x, y) goes to (x + magnitude * y, y), or likewise down."""
    forward = identity_affine()
    row, column = (0, 1) if direction == "horizontal" else (1, 0)
    forward[row, column] = magnitude
    return pixel_affine_to_unit(invert(forward), image_hw, image_hw)


def translate_affine(magnitude: float, direction: str) -> np.ndarray:
    """Return the map of moving the content right, or down when vertical, by ``magnitude`` of the image's size."""
    affine = identity_affine()
    affine[0 if direction == "horizontal" else 1, 2] = -magnitude
    return affine


def box_bounds(affines: np.ndarray) -> np.ndarray:
    """Return the upright boxes (x1, y1, x2, y2) around the images of the unit square under ``affines`` [n, 2, 3]."""
    # A coordinate a x + b y + c is smallest where x is 1 for a negative a, else 0, and likewise y.
    linear, offset = affines[..., :2], affines[..., 2]
    low, high = (clip(linear, 0).sum(axis=-1) + offset for clip in (np.minimum, np.maximum))
    return np.concatenate([low, high], axis=-1)
