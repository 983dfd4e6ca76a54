"""Figure of training samples with the label of every token."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmpretrain.structures import DataSample

from mmtl.visualization.colors import class_name, figure_colors
from mmtl.visualization.figures import POINTS, add_class_legend, color_cells, draw_over

PANEL_INCHES = 2.6
LEGEND_CLASSES = 3
MAX_NAME = 30  # characters of a file name with its folder


class TokenLabels(NamedTuple):
    """Labels of the token grid [h, w] of one sample."""

    top_class: np.ndarray  # most likely class, -1 where all are equally likely
    probability: np.ndarray  # of that class
    counts: np.ndarray  # bool, whether the token counts in the loss


class Sample(NamedTuple):
    """One sample as the network receives it."""

    image: np.ndarray  # uint8 [H, W, 3], RGB
    data: DataSample | dict  # label and path
    tokens: TokenLabels | None = None  # None without a score map
    title: str | None = None  # in place of the class label


def draw_samples(samples: Sequence[Sample], names: Sequence[str] | None, palette: np.ndarray | None = None) -> Figure:
    """Draw each sample twice, with its token grid and with its labels, in a figure about as wide as high.

    With a palette, uint8 [K, 3], the labels are those of the pixels, without a grid.
    """
    columns = max(1, round(math.sqrt(len(samples) / 2) + 0.2))
    rows = math.ceil(len(samples) / columns)
    figure = Figure((2 * PANEL_INCHES * columns, 1.35 * PANEL_INCHES * rows), dpi=110, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)
    axes = figure.subplots(rows, 2 * columns, squeeze=False).reshape(-1, 2)
    for each in axes.flat:
        each.set_axis_off()
    labels = np.concatenate([[-1], *(sample.tokens.top_class.ravel() for sample in samples if sample.tokens)])
    colors = figure_colors(labels, len(names or range(labels.max() + 1)))
    if palette is not None:
        colors = {label: tuple(palette[label] / 255) for label in colors if label < len(palette)}
    for (left, right), sample in zip(axes, samples, strict=False):
        draw_image(left, sample, names, has_grid=palette is None)
        gray, tokens = sample.image.mean(axis=-1), sample.tokens
        if tokens is None:
            right.imshow(gray, cmap="gray", vmin=0, vmax=255)
            right.set_title("no score map: class label only", fontsize=POINTS)
            continue
        cells = color_cells(tokens.top_class, tokens.probability, colors)
        cells[~tokens.counts] = (0, 0, 0, 1)
        draw_over(right, gray, cells)
        shown = tokens.counts & (tokens.top_class >= 0)
        place = dict(loc="upper left", bbox_to_anchor=(0, -0.02), unit="tokens" if palette is None else "pixels")
        listed = tokens.top_class[shown], tokens.probability[shown]
        add_class_legend(right, *listed, colors, names, LEGEND_CLASSES, **place)
    return figure


def draw_image(axes: Axes, sample: Sample, names: Sequence[str] | None, has_grid: bool) -> None:
    """Draw the image as the network receives it, under the token grid if it has one, with the class label as title."""
    height, width = sample.image.shape[:2]
    axes.imshow(sample.image, extent=(0, width, height, 0))
    label, path = sample.data.get("gt_label"), sample.data.get("img_path")
    title = sample.title
    if title is None:
        title = "no label" if label is None else class_name(int(label), names)
    name = "/".join(Path(path).parts[-2:])[-MAX_NAME:] if path else ""
    axes.set_title(f"{title}\n{name}", fontsize=POINTS)
    if sample.tokens and has_grid:
        rows, columns = sample.tokens.top_class.shape
        lines = dict(colors="white", linewidths=0.4, alpha=0.6)
        axes.hlines(np.linspace(0, height, rows + 1), 0, width, **lines)
        axes.vlines(np.linspace(0, width, columns + 1), 0, height, **lines)
