"""Synthetic scenes: textured shapes on textured backgrounds, with masks that are exact to the pixel."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

Grid = tuple[np.ndarray, np.ndarray]  # x and y [H, W] of every pixel center
Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]

# A shape is True inside; x and y are in units of the object's radius.
SHAPES: dict[str, Pattern] = {
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.4) & (np.maximum(abs(x), abs(y)) < 1.1),
    "disc": lambda x, y: x**2 + y**2 < 1,
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.78) < 0.27,
    "triangle": lambda x, y: np.maximum(y, np.sqrt(3) / 2 * abs(x) - y / 2) < 0.65,  # equilateral, inradius 0.65
}
# A texture has the values 0 and 1; a unit of x and y is one period.
TEXTURES: dict[str, Pattern] = {
    "banded": lambda x, y: (y % 1) < 0.5,
    "checked": lambda x, y: ((x % 1) < 0.5) ^ ((y % 1) < 0.5),
    "dotted": lambda x, y: np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.33,
    "latticed": lambda x, y: ((x % 1) < 0.3) | ((y % 1) < 0.3),
    "plain": lambda x, y: np.zeros(x.shape),
    "slanted": lambda x, y: ((x + y) * np.sqrt(0.5) % 1) < 0.5,
    "striped": lambda x, y: (x % 1) < 0.5,
    "zigzag": lambda x, y: ((y + 1.2 * abs(x / 1.5 % 1 - 0.5)) % 1) < 0.5,
}
# Eight classes; two share each shape, so that neither the shape nor a color is enough to recognize a class.
LOOKS = {f"{texture}-{shape}": (texture, shape) for texture, shape in zip(TEXTURES, 2 * list(SHAPES), strict=True)}
CLASSES = sorted(LOOKS)

DOMINANCE = 1.3  # the labeled object has at least this many times the visible pixels of any other
MIN_VISIBLE = 20  # visible pixels of every object, at least
NOISE = 6.0  # standard deviation of the final noise, in gray levels


class Scene(NamedTuple):
    """One synthetic image."""

    image: np.ndarray  # uint8 [H, W, 3], BGR
    mask: np.ndarray  # uint8 [H, W]; 0 is the background, 1 + k is class k
    label: int  # class of the largest object


def local_coordinates(grid: Grid, center_xy: tuple[float, float], angle: float, unit: float) -> Grid:
    """Return pixel coordinates relative to a center, rotated by ``angle`` radians, in units of ``unit`` pixels."""
    x, y = grid[0] - center_xy[0], grid[1] - center_xy[1]
    cos, sin = np.cos(angle) / unit, np.sin(angle) / unit
    return cos * x + sin * y, cos * y - sin * x


def random_colors(rng: np.random.Generator, contrast: float) -> np.ndarray:
    """Return two random colors [2, 3] at least ``contrast`` apart, in gray levels of 0 to 255."""
    while True:
        colors = rng.uniform(0, 255, (2, 3))
        if np.linalg.norm(colors[0] - colors[1]) > contrast:
            return colors


def blend(first: np.ndarray, second: np.ndarray, weight_hw: np.ndarray) -> np.ndarray:
    """Return the image [H, W, 3] between two colors [3] at weights [H, W] of 0 (first) to 1 (second)."""
    return first + (second - first) * weight_hw[..., None]


def draw_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a background [H, W, 3]: grainy clouds of random size and direction between two random colors."""
    cells = rng.integers(2, 7, 2)  # unequal counts give the clouds a direction
    clouds = cv2.resize(rng.random(tuple(cells)), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, rng.uniform(0, 0.2), (height, width))
    return blend(*random_colors(rng, 50), np.clip(clouds + grain, 0, 1))


def draw_object(rng: np.random.Generator, label: int, radius: float, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return an object's colors [H, W, 3] and the pixels [H, W] it covers; its center is well inside the image."""
    texture, shape = LOOKS[CLASSES[label]]
    height, width = grid[0].shape
    margin = min(0.8 * radius, 0.4 * height)
    center_xy = (rng.uniform(margin, width - margin), rng.uniform(margin, height - margin))
    angle = rng.uniform(-0.3, 0.3)  # shape and texture rotate together
    inside = SHAPES[shape](*local_coordinates(grid, center_xy, angle, unit=radius))
    pattern = TEXTURES[texture](*local_coordinates(grid, center_xy, angle, unit=rng.uniform(6, 8)))
    return blend(*random_colors(rng, 150), pattern), inside


def draw_scene(rng: np.random.Generator, label: int, height: int, width: int) -> Scene:
    """Return one large object of class ``label`` among two to four smaller ones of other classes.

    Objects occlude each other in random order. Rejection sampling: a scene is drawn again if the large object does not
    dominate or a small one is hidden.
    """
    scale = height / 64
    grid = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    while True:
        others = rng.choice(np.delete(np.arange(len(CLASSES)), label), rng.integers(2, 5), replace=False)
        labels = rng.permutation([label, *others])
        image, mask = draw_background(rng, height, width), np.zeros((height, width), np.uint8)
        for each in labels:
            radius = scale * (rng.uniform(18, 24) if each == label else rng.uniform(9, 14))
            colors, inside = draw_object(rng, each, radius, grid)
            image[inside], mask[inside] = colors[inside], each + 1
        visible = np.bincount(mask.ravel(), minlength=len(CLASSES) + 1)[1:]
        if visible[label] >= DOMINANCE * max(visible[others]) and min(visible[others]) >= MIN_VISIBLE:
            image += rng.normal(0, NOISE, image.shape)
            return Scene(np.clip(image, 0, 255).astype(np.uint8), mask, label)
