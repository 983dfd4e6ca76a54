"""The report's figures: training curves and grids of labeled images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmtl.apis.run_logs import read_curve

BLUE, ORANGE, GREEN, GRAY = "#0072b2", "#d55e00", "#009e73", "#8a929c"
WIDTH = 13  # inches
LEGEND_COLUMNS = 9
FEW_POINTS = 12  # curves of at most this many points get markers


def plot_curve(axes: Axes, run: Path, scalar: str, label: str, color: str) -> None:
    """Plot a scalar of a run, if the run logged it."""
    steps, values = read_curve(run, scalar)
    if steps:
        axes.plot(steps, values, label=label, color=color, marker="o" if len(steps) <= FEW_POINTS else None)
        axes.legend(frameon=False)


def draw_curves(work: Path) -> Figure:
    """Return the training curves of all runs in the demo's work directory."""
    figure = Figure((WIDTH, 3.4), layout="constrained")
    accuracy, loss, miou = figure.subplots(1, 3)
    plot_curve(accuracy, work / "annotator", "accuracy/top1", "annotator", GRAY)
    plot_curve(accuracy, work / "class_labels", "accuracy/top1", "class labels", ORANGE)
    plot_curve(accuracy, work / "token_labels", "accuracy/top1", "token labels + MixToken", BLUE)
    plot_curve(loss, work / "token_labels", "loss_cls", "class token", GRAY)
    plot_curve(loss, work / "token_labels", "loss_token", "patch tokens, times beta", GREEN)
    plot_curve(miou, work / "segmentation_class_labels", "mIoU", "class labels", ORANGE)
    plot_curve(miou, work / "segmentation_token_labels", "mIoU", "token labels + MixToken", BLUE)
    accuracy.set(title="Accuracy on validation images, %", xlabel="epoch", ylim=(0, 100))
    loss.set(title="Loss of token labels + MixToken", xlabel="step", ylim=(0, None))
    miou.set(title="mIoU on validation images, %", xlabel="step", ylim=(0, 100))
    for axes in (accuracy, loss, miou):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_panels(
    panels: list[tuple[np.ndarray, str]], columns: int, names: Sequence[str] = (), palette: Sequence[np.ndarray] = ()
) -> Figure:
    """Return images [H, W, 3] of equal size with captions in a grid, and a legend of the K classes' colors [K, 3]."""
    rows = -(-len(panels) // columns)
    height, width = panels[0][0].shape[:2]
    row_inches = WIDTH / columns * height / width + 0.3  # with the caption
    figure = Figure((WIDTH, rows * row_inches + 0.4 * bool(names)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (image, caption) in zip(grid, panels, strict=False):
        axes.imshow(image, interpolation="nearest")
        axes.set_title(caption, fontsize=9)
    handles = [Patch(color=color / 255, label=name) for name, color in zip(names, palette, strict=True)]
    if handles:
        figure.legend(handles=handles, loc="outside lower left", ncols=LEGEND_COLUMNS, frameon=False, fontsize=9)
    return figure
