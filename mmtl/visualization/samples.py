"""Figure of training samples with the label of every token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmpretrain.structures import DataSample

from mmtl.visualization.colors import Color, class_name, colors_by_frequency
from mmtl.visualization.figures import add_legend

PANEL_INCHES = 2.2
LEGEND_CLASSES = 3


class Sample(NamedTuple):
    """One sample as the network receives it.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        data: label, path and, with a score map, its fields.
        grid_hw: token grid (h, w); None if the sample has no token labels.
        top_class: [h, w], most likely class of each token, -1 where all are equally likely.
        probability: [h, w], its probability.
        counts: bool [h, w], whether the token counts in the loss.
    """

    image: np.ndarray
    data: DataSample
    grid_hw: tuple[int, int] | None = None
    top_class: np.ndarray | None = None
    probability: np.ndarray | None = None
    counts: np.ndarray | None = None


def draw_samples(samples: Sequence[Sample], names: Sequence[str] | None) -> Figure:
    """Draw each sample twice, with its token grid and with its token labels, in a figure about as wide as high."""
    columns = max(1, round(math.sqrt(len(samples) / 2) + 0.2))
    rows = math.ceil(len(samples) / columns)
    figure = Figure((2 * PANEL_INCHES * columns, 1.3 * PANEL_INCHES * rows), dpi=110, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)
    axes = figure.subplots(rows, 2 * columns, squeeze=False).reshape(-1, 2)
    for axis in axes.flat:
        axis.axis("off")
    colors = class_colors(samples)
    for (left, right), sample in zip(axes, samples, strict=False):
        draw_image(left, sample, names)
        draw_labels(right, sample, colors, names)
    return figure


def class_colors(samples: Sequence[Sample]) -> dict[int, Color]:
    """Return the color of every class that a token of the figure has."""
    labels = np.concatenate([np.zeros(0, int)] + [sample.top_class.ravel() for sample in samples if sample.grid_hw])
    return colors_by_frequency(labels[labels >= 0])


def color_tokens(sample: Sample, colors: Mapping[int, Color]) -> np.ndarray:
    """Return the token labels as float RGBA [h, w, 4]: the hue is the class, the opacity its probability."""
    overlay = np.zeros((*sample.grid_hw, 4))
    for label, color in colors.items():
        overlay[sample.top_class == label, :3] = color
    overlay[..., 3] = 0.9 * sample.probability * (sample.top_class >= 0)
    overlay[~sample.counts] = (0, 0, 0, 1)
    return overlay


def draw_image(axis: Axes, sample: Sample, names: Sequence[str] | None) -> None:
    """Draw the image as the network receives it under the token grid, with the class label as title."""
    axis.imshow(sample.image, interpolation="nearest")
    label = sample.data.gt_label.tolist()[0] if "gt_label" in sample.data else None
    path = sample.data.get("img_path")
    title = "no label" if label is None else class_name(label, names)
    axis.set_title(f"{title}\n{Path(path).name if path else ''}", fontsize=6)
    height, width = sample.image.shape[:2]
    if sample.grid_hw is not None:
        lines = dict(colors="white", linewidths=0.4, alpha=0.6)
        axis.hlines(np.linspace(0, height, sample.grid_hw[0] + 1) - 0.5, -0.5, width - 0.5, **lines)
        axis.vlines(np.linspace(0, width, sample.grid_hw[1] + 1) - 0.5, -0.5, height - 0.5, **lines)


def draw_labels(axis: Axes, sample: Sample, colors: Mapping[int, Color], names: Sequence[str] | None) -> None:
    """Draw the image in gray under the labels of its tokens, with the most frequent classes below."""
    height, width = sample.image.shape[:2]
    axis.imshow(sample.image.mean(axis=-1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if sample.grid_hw is None:
        axis.set_title("no score map: class label only", fontsize=6)
        return
    extent = -0.5, width - 0.5, height - 0.5, -0.5
    axis.imshow(color_tokens(sample, colors), extent=extent, interpolation="nearest")
    shown = sample.counts & (sample.top_class >= 0)
    labels, tokens = np.unique(sample.top_class[shown], return_counts=True)
    entries = []
    for index in np.argsort(-tokens, kind="stable")[:LEGEND_CLASSES]:
        label = int(labels[index])
        mean = sample.probability[shown & (sample.top_class == label)].mean()
        entries.append((colors[label], f"{class_name(label, names)}: {tokens[index]} tokens, p {mean:.2f}"))
    add_legend(axis, entries, loc="upper left", bbox_to_anchor=(0, -0.02), fontsize=6)
