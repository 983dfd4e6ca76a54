"""Reliability plot: accuracy of predictions over their probability."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mmtl.score_maps.calibration import Reliability

PANEL_INCHES = 4.2


def draw_reliability(panels: Mapping[str, Reliability]) -> Figure:
    """Draw a panel for each kind of prediction, by its title: accuracy and number of predictions of each bin."""
    figure = Figure((PANEL_INCHES * len(panels), PANEL_INCHES + 1), dpi=100, layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False, sharex=True, height_ratios=[4, 1])
    for (upper, lower), (title, reliability) in zip(axes.T, panels.items(), strict=True):
        edges = np.linspace(0, 1, len(reliability.counts) + 1)
        place = dict(x=edges[:-1], width=np.diff(edges), align="edge", edgecolor="white")
        bars = upper.bar(height=np.nan_to_num(reliability.accuracy), color="#0072B2", **place)
        (diagonal,) = upper.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1)
        (means,) = upper.plot(reliability.confidence, reliability.accuracy, "o", color="#D55E00", clip_on=False)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        upper.set_title(f"{title}\nexpected calibration error {100 * reliability.error:.1f} %", fontsize=10)
        lower.bar(height=reliability.counts / reliability.counts.sum(), color="0.6", **place)
        lower.set(xlabel="probability of the top-1 class", ylabel="share", ylim=(0, 1))
    labels = ["predictions of a bin that are right", "over their mean probability", "calibrated"]
    figure.legend([bars, means, diagonal], labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure
