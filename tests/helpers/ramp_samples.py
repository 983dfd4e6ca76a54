"""Samples whose pixel values encode their position in the original image."""

import numpy as np

from mmtl.score_maps import ScoreMap

INSIDE = 200  # value of the third channel within the original image; padding has another


def ramp_image(image_hw):
    """Return an image with 255 x in channel 0 and 255 y in channel 1, (x, y) in the unit square at pixel centers."""
    height, width = image_hw
    x = 255 * (np.arange(width) + 0.5) / width
    y = 255 * (np.arange(height) + 0.5) / height
    image = np.full((height, width, 3), INSIDE, dtype=np.uint8)
    image[..., 0] = np.rint(x)[None, :]
    image[..., 1] = np.rint(y)[:, None]
    return image


def cell_score_map(map_hw):
    """Return a map whose cell in row r, column c lists only class r * w + c."""
    height, width = map_hw
    classes = np.arange(height * width, dtype=np.uint16).reshape(height, width, 1)
    return ScoreMap(scores=np.full(classes.shape, 9, np.float16), classes=classes, log_norm=None)


def ramp_sample(image_hw, map_hw=(3, 4)):
    """Return the results dict of a loaded image with its score map."""
    return {
        "img": ramp_image(image_hw),
        "img_shape": image_hw,
        "ori_shape": image_hw,
        "img_path": "images/a/b.png",
        "gt_label": 1,
        "score_map": cell_score_map(map_hw),
    }


def encoded_positions(image):
    """Return the positions (x, y) [H, W, 2] encoded in the pixels, and a mask [H, W] of pixels inside the image."""
    positions = image[..., :2].astype(np.float64) / 255
    return positions, np.abs(image[..., 2].astype(int) - INSIDE) <= 1


def apply_affine(affine, points_xy):
    """Move points [n, 2] by a map [2, 3]."""
    return points_xy @ affine[:, :2].T + affine[:, 2]


def pixel_centers(image):
    """Return (x, y) in the unit square of every pixel center, [H * W, 2]."""
    height, width = image.shape[:2]
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def worst_error(results):
    """Return the largest distance between a pixel's position by ``view_affine`` and the position it encodes."""
    expected = apply_affine(results["view_affine"], pixel_centers(results["img"]))
    encoded, inside = encoded_positions(results["img"])
    interior = inside.ravel() & (np.abs(expected - 0.5) < 0.47).all(axis=-1)
    assert interior.sum() > 20
    return np.abs(expected - encoded.reshape(-1, 2))[interior].max()


def cell_of(positions, map_hw):
    """Return the class of the map cells at ``positions`` [n, 2], (x, y) in units of cells."""
    column, row = np.floor(positions).astype(int).T
    return row * map_hw[1] + column
