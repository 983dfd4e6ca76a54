"""Figures of score maps over their images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from mmtl.score_maps.score_map import ScoreMap, coverage_box
from mmtl.score_maps.stats import cell_probabilities, pooled_prediction
from mmtl.score_maps.store import ScoreMapStore
from mmtl.utils.read_image import read_image
from mmtl.visualization.colors import class_name, figure_colors
from mmtl.visualization.figures import POINTS, add_class_legend, color_cells, draw_over
from mmtl.visualization.rgb import rgb_of

PANEL_INCHES = 5.5
LEGEND_INCHES = 2.2
TITLE_INCHES = 0.4
MAX_SHARE = 0.6  # of a cell's height that numbers may cover, so that the image stays visible
LINE_HEIGHT, DIGIT_WIDTH = 1.2, 0.72  # of a number with its outline, in font sizes
OUTLINE = [withStroke(linewidth=1.5, foreground="black")]  # readable on any background


def draw_maps(
    store: ScoreMapStore,
    keys: Sequence[str],
    images: Path | None,
    names: Sequence[str] | None,
    labels: Mapping[str, int] | None = None,
) -> Figure:
    """Draw image (the region that the map covers), score map over it, and legend; one row per key.

    Args:
        store: the store.
        keys: keys to draw.
        images: image root; None draws only the maps.
        names: class names in the order of the class indices; None shows indices.
        labels: class of each class folder, as far as it is known.

    Raises:
        FileNotFoundError: An image is missing or cannot be decoded.
        KeyError: The store has no map of a key.
    """
    photos = [None if images is None else covered(read_rgb(images / key), store.coverage) for key in keys]
    score_maps = [store[key] for key in keys]
    colors = figure_colors(np.stack([each.classes[..., 0] for each in score_maps]), store.num_classes)
    numbered = names and [f"{index} {name}" for index, name in enumerate(names)]  # cells show the index
    heights = [row_inches(photo) for photo in photos]
    figure = Figure((2.6 * PANEL_INCHES, sum(heights)), dpi=100, layout="constrained")
    panels = figure.subplots(len(keys), 3, squeeze=False, width_ratios=[1, 1, 0.6], height_ratios=heights)
    for (left, middle, right), key, image, score_map in zip(panels, keys, photos, score_maps, strict=True):
        top_class, probability = score_map.classes[..., 0], cell_probabilities(score_map, store.num_classes)[..., 0]
        if image is not None:
            left.imshow(image)
        left.set_title(title_of(key, score_map, store.num_classes, names, labels or {}), fontsize=POINTS)
        draw_over(middle, image, color_cells(top_class, probability, colors))
        write_numbers(middle, image, top_class, probability)
        legend = dict(loc="center left", title="top-1 class", title_fontsize=POINTS)
        add_class_legend(right, top_class, probability, colors, numbered, **legend)
        for panel in (left, middle, right):
            panel.set_axis_off()
    return figure


def title_of(
    key: str, score_map: ScoreMap, num_classes: int, names: Sequence[str] | None, labels: Mapping[str, int]
) -> str:
    """Return a key with its true class, if it is known, and the class that the pooled map predicts."""
    predicted, probability = pooled_prediction(score_map, num_classes)
    label = labels.get(key.split("/")[0])
    truth = "" if label is None else f"true {class_name(label, names)}, "
    return f"{key}\n{truth}predicted {class_name(predicted, names)} {100 * probability:.0f}%"


def read_rgb(path: Path) -> np.ndarray:
    """Read an image [H, W, 3], of a TIFF of many channels the first three."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Check --images.")
    image = read_image(path)
    if image is None and path.suffix.lower() in (".tif", ".tiff"):
        image = read_image(path, "unchanged", "tifffile")
        image = None if image is None else rgb_of(image)  # back to BGR
    if image is None:
        raise FileNotFoundError(f"{path} cannot be decoded as an image.")
    return image[..., ::-1]


def covered(image: np.ndarray, coverage: str) -> np.ndarray:
    """Cut out the region of an image [H, W, 3] that its score map covers."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = coverage_box(coverage, (height, width))
    return image[round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)]


def row_inches(image: np.ndarray | None) -> float:
    """Return a row's height: a wide image fills its panel's width, a tall one gets a square, the legend has room."""
    height, width = (1, 1) if image is None else image.shape[:2]
    return TITLE_INCHES + max(PANEL_INCHES * min(height / width, 1), LEGEND_INCHES)


def write_numbers(axes: Axes, image: np.ndarray | None, top_class: np.ndarray, probability: np.ndarray) -> None:
    """Write class index over percentage into every cell [h, w] that is drawn over an image, if they fit."""
    size_hw = np.array(top_class.shape if image is None else image.shape[:2])
    # The longer side of an image fills its panel; without one, the cells do.
    panel_hw = PANEL_INCHES * (np.ones(2) if image is None else size_hw / size_hw.max())
    height, width = panel_hw / top_class.shape
    digits = max(len(str(top_class.max())), len("100%"))
    if 72 * min(MAX_SHARE * height / (2 * LINE_HEIGHT), width / (digits * DIGIT_WIDTH)) < POINTS:
        return
    style = dict(ha="center", va="center", fontsize=POINTS, color="white", path_effects=OUTLINE)
    for cell in np.ndindex(top_class.shape):
        y, x = (np.array(cell) + 0.5) * size_hw / top_class.shape
        axes.text(x, y, f"{top_class[cell]}\n{100 * probability[cell]:.0f}%", **style)
