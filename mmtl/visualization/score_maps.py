"""Figures of score maps over their images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from mmtl.score_maps.score_map import ScoreMap
from mmtl.score_maps.stats import cell_probabilities
from mmtl.score_maps.store import ScoreMapStore
from mmtl.utils.read_image import read_image
from mmtl.visualization.colors import Color, class_name, colors_by_frequency
from mmtl.visualization.figures import add_legend

LEGEND_CLASSES = 10
NUMBER_POINTS = (5, 9)  # smallest and largest font; where the smallest does not fit, numbers would not be readable
PANEL_INCHES = 5.5
LEGEND_INCHES = 2.2
TITLE_INCHES = 0.25
LINE_HEIGHT, DIGIT_WIDTH = 1.3, 0.8  # of a number with its outline, in font sizes
OUTLINE = [withStroke(linewidth=1.5, foreground="black")]  # readable on any background


def draw_maps(store: ScoreMapStore, keys: Sequence[str], images: Path | None, names: Sequence[str] | None) -> Figure:
    """Draw image, score map over it, and legend; one row per key.

    Args:
        store: the store.
        keys: keys to draw.
        images: image root; None draws only the maps.
        names: class names in the order of the class indices; None shows indices.

    Raises:
        FileNotFoundError: An image is missing or cannot be decoded.
        KeyError: The store has no map of a key.
    """
    photos = [None if images is None else _read_rgb(images / key) for key in keys]
    score_maps = [store[key] for key in keys]
    colors = colors_by_frequency(np.concatenate([score_map.classes[..., 0].ravel() for score_map in score_maps]))
    heights = [row_inches(photo) for photo in photos]
    figure = Figure((2.6 * PANEL_INCHES, sum(heights)), layout="constrained")
    ratios = {"width_ratios": [1, 1, 0.6], "height_ratios": heights}
    panels = figure.subplots(len(keys), 3, squeeze=False, gridspec_kw=ratios)
    for (left, middle, right), key, image, score_map in zip(panels, keys, photos, score_maps, strict=True):
        if image is not None:
            left.imshow(image)
        left.set_title(key, fontsize=8)
        draw_cells(middle, score_map, store.num_classes, colors, image)
        draw_legend(right, score_map, colors, names)
        for panel in (left, middle, right):
            panel.set_axis_off()
    return figure


def row_inches(image: np.ndarray | None) -> float:
    """Return a row's height: a wide image fills its panel's width, a tall one gets a square, the legend has room."""
    height, width = (1, 1) if image is None else image.shape[:2]
    return TITLE_INCHES + max(PANEL_INCHES * min(height / width, 1), LEGEND_INCHES)


def number_points(cell_hw: np.ndarray, digits: int) -> float | None:
    """Return the font size at which a class index over a percentage fits in a cell; None if it would be too small.

    Args:
        cell_hw: height and width of a cell in inches.
        digits: of the longest class index.
    """
    smallest, largest = NUMBER_POINTS
    fits = 72 * min(cell_hw[0] / (2 * LINE_HEIGHT), cell_hw[1] / (max(digits, len("100%")) * DIGIT_WIDTH))
    return None if fits < smallest else min(fits, largest)


def draw_cells(
    axes: Axes,
    score_map: ScoreMap,
    num_classes: int,
    colors: Mapping[int, Color],
    image: np.ndarray | None,
    numbers: bool = True,
) -> None:
    """Draw cells in the color of their top-1 class, more opaque with its probability.

    Args:
        axes: where to draw.
        score_map: the map; it covers the entire image.
        num_classes: K.
        colors: RGB of each top-1 class.
        image: RGB image [H, W, 3] to draw over, None for an empty background.
        numbers: whether to write class index and percentage where they fit.
    """
    top_class = score_map.classes[..., 0]
    probability = cell_probabilities(score_map, num_classes)[..., 0]
    size_hw = image.shape[:2] if image is not None else top_class.shape
    extent = (0, size_hw[1], size_hw[0], 0)
    if image is not None:
        axes.imshow(image, extent=extent)
    cells = np.zeros((*top_class.shape, 4))
    cells[..., :3] = [[colors[int(label)] for label in row] for row in top_class]
    cells[..., 3] = 0.2 + 0.6 * probability
    axes.imshow(cells, extent=extent, interpolation="nearest", aspect="auto")
    axes.set_aspect("equal" if image is not None else "auto")
    # The longer side of an image fills its panel; without one, the cells do.
    shown_inches = PANEL_INCHES * (np.array(size_hw) / max(size_hw) if image is not None else np.ones(2))
    fontsize = number_points(shown_inches / top_class.shape, len(str(top_class.max())))
    if numbers and fontsize is not None:
        write_numbers(axes, top_class, probability, size_hw, fontsize)


def write_numbers(
    axes: Axes, top_class: np.ndarray, probability: np.ndarray, size_hw: tuple[int, int], fontsize: float
) -> None:
    """Write class index and percentage into every cell of [h, w] over an image of ``size_hw``."""
    height, width = top_class.shape
    for row, column in np.ndindex(height, width):
        x, y = (column + 0.5) * size_hw[1] / width, (row + 0.5) * size_hw[0] / height
        text = f"{top_class[row, column]}\n{100 * probability[row, column]:.0f}%"
        axes.text(x, y, text, ha="center", va="center", fontsize=fontsize, color="white", path_effects=OUTLINE)


def draw_legend(axes: Axes, score_map: ScoreMap, colors: Mapping[int, Color], names: Sequence[str] | None) -> None:
    """List the most frequent top-1 classes with their shares of the cells."""
    counts = Counter(score_map.classes[..., 0].ravel().tolist())
    entries = [
        (colors[label], f"{class_name(label, names, 36)} ({100 * count / counts.total():.0f}% of cells)")
        for label, count in counts.most_common(LEGEND_CLASSES)
    ]
    if len(counts) > LEGEND_CLASSES:
        entries.append(("none", f"and {len(counts) - LEGEND_CLASSES} more"))
    add_legend(axes, entries, loc="center left", fontsize=8, title="top-1 class", title_fontsize=8)


def _read_rgb(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Check --images.")
    image = read_image(path)
    if image is None:
        raise FileNotFoundError(f"{path} cannot be decoded as an image.")
    return image[..., ::-1]
