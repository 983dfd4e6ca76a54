"""Samples whose pixels tell where in the original image they come from."""

import numpy as np

from mmtl.datasets.transforms.geometry import apply_affine
from mmtl.score_maps import ScoreMap

INSIDE = 200  # value of the third channel within the original image; padding has another


def ramp_image(image_hw):
    """Channel 0 holds 255 x, channel 1 holds 255 y of the unit square at every pixel centre."""
    height, width = image_hw
    x = 255 * (np.arange(width) + 0.5) / width
    y = 255 * (np.arange(height) + 0.5) / height
    image = np.full((height, width, 3), INSIDE, dtype=np.uint8)
    image[..., 0] = np.rint(x)[None, :]
    image[..., 1] = np.rint(y)[:, None]
    return image


def cell_score_map(map_hw):
    """A map whose cell in row r, column c has class r * w + c on top and nothing else."""
    height, width = map_hw
    classes = np.arange(height * width, dtype=np.uint16).reshape(height, width, 1)
    return ScoreMap(scores=np.full(classes.shape, 9, np.float16), classes=classes, log_norm=None)


def ramp_sample(image_hw, map_hw=(3, 4)):
    return {
        "img": ramp_image(image_hw),
        "img_shape": image_hw,
        "ori_shape": image_hw,
        "img_path": "images/a/b.png",
        "gt_label": 1,
        "score_map": cell_score_map(map_hw),
    }


def seen_positions(image):
    """Unit-square (x, y) [H, W, 2] that the colours tell, and where they can be trusted [H, W]."""
    positions = image[..., :2].astype(np.float64) / 255
    return positions, np.abs(image[..., 2].astype(int) - INSIDE) <= 1


def pixel_centres(image):
    """Unit-square (x, y) of every pixel centre, [H * W, 2]."""
    height, width = image.shape[:2]
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def worst_error(results):
    """The largest distance between where the view says that a pixel is from and where its colour says."""
    told = apply_affine(results["view_affine"], pixel_centres(results["img"]))
    seen, trusted = seen_positions(results["img"])
    interior = trusted.ravel() & (np.abs(told - 0.5) < 0.47).all(axis=-1)
    assert interior.sum() > 20
    return np.abs(told - seen.reshape(-1, 2))[interior].max()


def cell_of(positions, map_hw):
    """Class of the map cells at ``positions`` [n, 2], (x, y) counted in cells."""
    column, row = np.floor(positions).astype(int).T
    return row * map_hw[1] + column
