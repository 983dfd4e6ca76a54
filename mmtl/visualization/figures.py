"""What the matplotlib figures share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmtl.visualization.colors import Color


def add_legend(axes: Axes, entries: Sequence[tuple[Color | str, str]], **options: Any) -> None:
    """Add a legend of colored squares.

    Args:
        axes: where to draw.
        entries: color and text of each line.
        options: position, font size and title, as of ``Axes.legend``.
    """
    handles = [Patch(color=color, label=text) for color, text in entries]
    axes.legend(handles=handles, frameon=False, handlelength=1, handleheight=1, borderpad=0, **options)


def render(figure: Figure) -> np.ndarray:
    """Return a figure's pixels, uint8 [H, W, 3] RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
