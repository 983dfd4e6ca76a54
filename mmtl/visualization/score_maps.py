"""Pictures of score maps over their images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from mmtl.score_maps.score_map import ScoreMap
from mmtl.score_maps.stats import cell_probabilities
from mmtl.score_maps.store import ScoreMapStore
from mmtl.utils.read_image import read_image

LEGEND_CLASSES = 10
NUMBER_POINTS = (5, 9)  # smallest and largest font; where the smallest does not fit, numbers would not be readable
PANEL_INCHES = 5.5
LEGEND_INCHES = 2.2
TITLE_INCHES = 0.25
LINE_HEIGHT, DIGIT_WIDTH = 1.3, 0.8  # of a number with its outline, in font sizes
OUTLINE = [withStroke(linewidth=1.5, foreground="black")]  # readable on any ground


def draw_maps(
    store: ScoreMapStore, keys: Sequence[str], images: Path | None, class_names: Sequence[str] | None
) -> Figure:
    """Image, its score map over it, and which colour is which class; one row per key.

    Args:
        store: The store.
        keys: Keys to draw.
        images: Image root; None draws the maps alone.
        class_names: Names in the order of the class indices; None shows indices.

    Raises:
        FileNotFoundError: An image is missing or cannot be decoded.
    """
    pictures = [None if images is None else _read_rgb(images / key) for key in keys]
    heights = [row_inches(picture) for picture in pictures]
    figure = Figure((2.6 * PANEL_INCHES, sum(heights)), layout="constrained")
    ratios = {"width_ratios": [1, 1, 0.6], "height_ratios": heights}
    panels = figure.subplots(len(keys), 3, squeeze=False, gridspec_kw=ratios)
    for (left, middle, right), key, image in zip(panels, keys, pictures, strict=True):
        score_map = store[key]
        if image is not None:
            left.imshow(image)
        left.set_title(key, fontsize=8)
        colours = class_colours(score_map)
        draw_cells(middle, score_map, store.num_classes, colours, image)
        draw_legend(right, score_map, colours, class_names)
        for panel in (left, middle, right):
            panel.set_axis_off()
    return figure


def row_inches(image: np.ndarray | None) -> float:
    """Height of a row: a wide image fills the width of its panel, a tall one gets a square, the legend has room."""
    height, width = (1, 1) if image is None else image.shape[:2]
    return TITLE_INCHES + max(PANEL_INCHES * min(height / width, 1), LEGEND_INCHES)


def shown_inches(size_hw: tuple[int, int]) -> np.ndarray:
    """Height and width that a picture of some size has in its panel: its longer side fills it."""
    return PANEL_INCHES * np.array(size_hw) / max(size_hw)


def number_points(cell_hw: np.ndarray, digits: int) -> float | None:
    """Font size in points with which a class of so many digits, over a percentage, fits in a cell; None if none does.

    Args:
        cell_hw: Height and width of a cell in inches.
        digits: Of the longest class index.
    """
    smallest, largest = NUMBER_POINTS
    fits = 72 * min(cell_hw[0] / (2 * LINE_HEIGHT), cell_hw[1] / (max(digits, len("100%")) * DIGIT_WIDTH))
    return None if fits < smallest else min(fits, largest)


def class_colours(score_map: ScoreMap) -> dict[int, tuple]:
    """Colours of the classes that are first in some cell, the most frequent ones told apart best."""
    counts = Counter(score_map.classes[..., 0].ravel().tolist())
    palette = [*colormaps["tab10"].colors, *colormaps["tab20b"].colors]
    return {label: palette[place % len(palette)] for place, (label, _) in enumerate(counts.most_common())}


def draw_cells(
    axes: Axes,
    score_map: ScoreMap,
    num_classes: int,
    colours: dict[int, tuple],
    image: np.ndarray | None,
    numbers: bool = True,
) -> None:
    """Cells in the colour of their first class, the stronger the surer, with class and percent where they fit.

    Args:
        axes: Where to draw.
        score_map: The map; it covers the whole image.
        num_classes: K.
        colours: RGB of each first class.
        image: RGB image [H, W, 3] to draw over, None for an empty ground.
        numbers: Whether to write class and percent.
    """
    first = score_map.classes[..., 0]
    probability = cell_probabilities(score_map, num_classes)[..., 0]
    height, width = first.shape
    size_hw = image.shape[:2] if image is not None else (height, width)
    extent = (0, size_hw[1], size_hw[0], 0)
    if image is not None:
        axes.imshow(image, extent=extent)
    cells = np.zeros((height, width, 4))
    cells[..., :3] = [[colours[int(label)] for label in row] for row in first]
    cells[..., 3] = 0.2 + 0.6 * probability
    axes.imshow(cells, extent=extent, interpolation="nearest", aspect="auto")
    axes.set_aspect("equal" if image is not None else "auto")
    cell_hw = shown_inches(size_hw if image is not None else (1, 1)) / first.shape
    fontsize = number_points(cell_hw, len(str(first.max())))
    if not numbers or fontsize is None:
        return
    for row, column in np.ndindex(height, width):
        x, y = (column + 0.5) * size_hw[1] / width, (row + 0.5) * size_hw[0] / height
        text = f"{first[row, column]}\n{100 * probability[row, column]:.0f}%"
        axes.text(x, y, text, ha="center", va="center", fontsize=fontsize, color="white", path_effects=OUTLINE)


def draw_legend(axes: Axes, score_map: ScoreMap, colours: dict[int, tuple], names: Sequence[str] | None) -> None:
    """Which colour is which class, with its share of the cells; the most frequent ones."""
    counts = Counter(score_map.classes[..., 0].ravel().tolist())
    cells = score_map.classes[..., 0].size
    patches = []
    for label, count in counts.most_common(LEGEND_CLASSES):
        name = f"{label} {names[label]}" if names is not None and label < len(names) else f"class {label}"
        patches.append(Patch(color=colours[label], label=f"{name[:40]} ({100 * count / cells:.0f}% of cells)"))
    if len(counts) > LEGEND_CLASSES:
        patches.append(Patch(color="none", label=f"and {len(counts) - LEGEND_CLASSES} more"))
    axes.legend(handles=patches, loc="center left", fontsize=8, frameon=False, title="first class", title_fontsize=8)


def _read_rgb(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image. Is it the right --images root?")
    image = read_image(path)
    if image is None:
        raise FileNotFoundError(f"{path} cannot be decoded as an image.")
    return image[..., ::-1]
