"""What the matplotlib figures share: an image under cells in the colors of their classes, their legend, saving."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image

from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.text import printable
from mmtl.visualization.colors import Color, class_name

POINTS = 9  # smallest type in a figure
FORMATS = (".png", ".jpg", ".pdf", ".svg")


def color_cells(top_class: np.ndarray, probability: np.ndarray, colors: Mapping[int, Color]) -> np.ndarray:
    """Return cells [h, w] as RGBA [h, w, 4]: the color is the class, the opacity grows with its probability.

    Cells of a class without a color are transparent.
    """
    cells = np.zeros((*top_class.shape, 4))
    for label, color in colors.items():
        cells[top_class == label, :3] = color
    cells[..., 3] = 0.15 + 0.4 * probability  # the image stays visible under a sure label
    cells[..., 3] *= np.isin(top_class, list(colors))
    return cells


def draw_over(axes: Axes, image: np.ndarray | None, cells: np.ndarray, **options: Any) -> None:
    """Draw cells [h, w] or RGBA [h, w, 4] over the image that they cover, in gray; without one they fill the axes."""
    height, width = cells.shape[:2] if image is None else image.shape[:2]
    extent = (0, width, height, 0)
    if image is not None:
        image = image if image.ndim == 2 else image.mean(axis=-1)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent)
    axes.imshow(cells, extent=extent, interpolation="nearest", aspect="auto" if image is None else "equal", **options)


def add_class_legend(
    axes: Axes,
    top_class: np.ndarray,
    probability: np.ndarray,
    colors: Mapping[int, Color],
    names: Sequence[str] | None,
    num_listed: int = 10,
    unit: str = "cells",
    **options: Any,
) -> None:
    """List the most frequent classes of cells with their share of the cells and their mean probability.

    Args:
        axes: where to draw.
        top_class: [h, w] or [N].
        probability: same shape, 0 to 1.
        colors: color of each class.
        names: class names; None shows indices.
        num_listed: number of classes to list; a last line counts the others.
        unit: what is counted; "pixels" of an annotation have no probability.
        **options: position, font size and title, as of ``Axes.legend``.
    """
    labels, counts = np.unique(top_class, return_counts=True)
    handles = []
    for index in np.argsort(-counts, kind="stable")[:num_listed]:
        label = int(labels[index])
        share, mean = 100 * counts[index] / top_class.size, probability[top_class == label].mean()
        text = f"{class_name(label, names)}: {share:.0f}% of {unit}" + f", p {mean:.2f}" * (unit != "pixels")
        handles.append(Patch(color=colors[label], label=text))
    if len(labels) > num_listed:
        handles.append(Patch(color="none", label=f"and {len(labels) - num_listed} more"))
    options = dict(handlelength=1, handleheight=1, borderpad=0, fontsize=POINTS) | options
    axes.legend(handles=handles, frameon=False, **options)


def render(figure: Figure, fixed: bool = False) -> np.ndarray:
    """Return a figure's pixels, uint8 [H, W, 3] RGB, fitted to what is drawn unless its size is fixed.

    Nothing is cut off by fitting, but hundreds of labels take seconds to measure.
    """
    _take_literally(figure)
    with io.BytesIO() as buffer:
        box = None if fixed else "tight"
        FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=figure.dpi, bbox_inches=box)
        return np.asarray(Image.open(buffer).convert("RGB"))


def _take_literally(figure: Figure) -> None:
    """Draw names as they are: no formulas between dollar signs, no control characters."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically in the format of the file's suffix.

    Raises:
        OSError: The file cannot be written.
        ValueError: The suffix is not one of `FORMATS`.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: the file name must end in one of {', '.join(FORMATS)} (-o).")
    _take_literally(figure)
    with atomic_file(path) as part:
        figure.savefig(part, format=path.suffix[1:].lower(), bbox_inches="tight")
