"""Figure of a confusion matrix that is readable for ten and for 150 classes."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from mmtl.evaluation.confusion_matrix import row_shares
from mmtl.visualization.colors import class_name
from mmtl.visualization.figures import POINTS, render

NUMBERS_UP_TO = 30  # classes; with more, percentages would not be readable in the cells
DPI, MARGIN = 100, 2.2  # pixels per inch; inches for the class names
BAR_TICKS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)


def draw_confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draw counts [K, K], truth by prediction, normalized by row, as uint8 [H, W, 3] RGB.

    Rows of classes without a pixel are gray.
    """
    shares, few = row_shares(counts), len(names) <= NUMBERS_UP_TO
    side = max(4.0, (0.42 if few else 0.16) * len(names))  # of the matrix, in inches
    # Positioned by hand: a layout engine measures each of 300 labels several times, which takes seconds.
    width, height = MARGIN + side + 1.2, MARGIN + side + 0.5
    figure = Figure((width, height), dpi=DPI)
    axes = figure.add_axes((MARGIN / width, MARGIN / height, side / width, side / height))
    # The square root keeps the few percent that matter visible beside a diagonal near one.
    colors = colormaps["Blues"].with_extremes(bad="0.85")
    image = axes.imshow(shares, cmap=colors, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    mean = np.nanmean(np.diagonal(shares)) if counts.any() else float("nan")
    axes.set_title(f"share of a true class's pixels, mean of the diagonal {100 * mean:.1f} %", fontsize=10)
    label_axes(axes, names, fontsize=POINTS)
    if few:
        write_percentages(axes, shares)
    else:
        draw_grid(axes, len(names))
    bar_side = min(side, 6.0)
    bar = ((width - 1) / width, (height - 0.5 - bar_side) / height, 0.18 / width, bar_side / height)
    color_bar = figure.colorbar(image, cax=figure.add_axes(bar), ticks=BAR_TICKS)
    color_bar.ax.set_yticklabels([f"{100 * value:g} %" for value in BAR_TICKS], fontsize=POINTS)
    return render(figure, fixed=True)


def label_axes(axes: Axes, names: Sequence[str], fontsize: int) -> None:
    """Label rows and columns with class names."""
    ticks, labels = np.arange(len(names)), [class_name(index, names) for index in range(len(names))]
    axes.set_xticks(ticks, labels, rotation=90, fontsize=fontsize)
    axes.set_yticks(ticks, labels, fontsize=fontsize)
    axes.tick_params(length=2)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")


def write_percentages(axes: Axes, shares: np.ndarray) -> None:
    """Write the percentage into each cell of half a percent or more."""
    for row, column in np.argwhere(np.nan_to_num(shares) >= 0.005):
        share = shares[row, column]
        color = "white" if share > 0.4 else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=POINTS, color=color)


def draw_grid(axes: Axes, num_classes: int) -> None:
    """Draw a line every ten classes, to follow a row or a column by eye."""
    lines = np.arange(0, num_classes, 10) - 0.5
    axes.set_xticks(lines, minor=True)
    axes.set_yticks(lines, minor=True)
    axes.grid(which="minor", color="0.75", linewidth=0.4)
    axes.tick_params(which="minor", length=0)
