"""Which class is taken for which: counts, and a picture that is readable for ten and for 150 classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

NUMBERS_UP_TO = 30  # classes; with more, percentages would not be readable in the cells
DPI, MARGIN = 100, 1.9  # pixels per inch; inches for the class names


class Confusion(NamedTuple):
    """`share` (0 to 1) of the pixels of class `truth` were taken for `prediction`."""

    truth: str
    prediction: str
    share: float


def confusion_counts(prediction: Tensor, truth: Tensor, num_classes: int, ignore_index: int = 255) -> Tensor:
    """Count the pixels of each true class by predicted class.

    Args:
        prediction: class indices of any shape.
        truth: class indices, as many; those equal to ``ignore_index`` or beyond the classes do not count.
        num_classes: K.
        ignore_index: label without a class.

    Returns:
        Tensor: int64 [K, K], truth by prediction.
    """
    truth, prediction = truth.flatten().long(), prediction.flatten().long()
    counted = (truth != ignore_index) & (truth >= 0) & (truth < num_classes)
    pairs = truth[counted] * num_classes + prediction[counted]
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Each true class's pixels by predicted class, rows summing to one; NaN where a class has no pixel. [K, K]."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def worst_confusions(counts: np.ndarray, names: Sequence[str], most: int = 5) -> list[Confusion]:
    """The largest off-diagonal shares, largest first."""
    shares = np.nan_to_num(row_shares(counts))
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, shares.shape), strict=True)
    return [Confusion(names[i], names[j], float(shares[i, j])) for i, j in pairs if shares[i, j] > 0]


def draw_confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Draw the matrix row by row normalised; rows of classes without a pixel stay grey.

    Args:
        counts: [K, K] pixels, truth by prediction.
        names: K class names.

    Returns:
        np.ndarray: uint8 [H, W, 3], RGB.
    """
    shares, classes = row_shares(counts), len(names)
    side = max(4.0, (0.42 if classes <= NUMBERS_UP_TO else 0.15) * classes)  # of the matrix, in inches
    fontsize = 8 if classes <= NUMBERS_UP_TO else 7
    # Placed by hand: a layout engine measures each of 300 labels several times, which takes seconds.
    width, height = MARGIN + side + 1.2, MARGIN + side + 0.5
    figure = Figure((width, height), dpi=DPI)
    axes = figure.add_axes((MARGIN / width, MARGIN / height, side / width, side / height))
    bar_side = min(side, 6.0)
    bar_axes = figure.add_axes(
        ((width - 1) / width, (height - 0.5 - bar_side) / height, 0.18 / width, bar_side / height)
    )
    colours = colormaps["Blues"].with_extremes(bad="0.85")
    # The square root lets the eye see the few percent that matter beside a diagonal near one.
    picture = axes.imshow(shares, cmap=colours, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    ticks = np.arange(classes)
    labels = [name[:24] for name in names]
    axes.set_xticks(ticks, labels, rotation=90, fontsize=fontsize)
    axes.set_yticks(ticks, labels, fontsize=fontsize)
    axes.tick_params(length=2)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    mean = np.nanmean(np.diagonal(shares)) if counts.any() else float("nan")
    axes.set_title(f"share of a true class's pixels, mean of the diagonal {100 * mean:.1f} %", fontsize=10)
    ticks_shown = [0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1]
    colour_bar = figure.colorbar(picture, cax=bar_axes, ticks=ticks_shown)
    colour_bar.ax.set_yticklabels([f"{100 * value:g} %" for value in ticks_shown], fontsize=8)
    if classes <= NUMBERS_UP_TO:
        write_percentages(axes, shares)
    else:  # lines to follow a row or a column with the eye
        axes.set_xticks(ticks[::10] - 0.5, minor=True)
        axes.set_yticks(ticks[::10] - 0.5, minor=True)
        axes.grid(which="minor", color="0.75", linewidth=0.4)
        axes.tick_params(which="minor", length=0)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_percentages(axes: object, shares: np.ndarray) -> None:
    """Write the percentage into each cell of half a percent or more."""
    for row, column in np.argwhere(np.nan_to_num(shares) >= 0.005):
        share = shares[row, column]
        colour = "white" if share > 0.4 else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=colour)
