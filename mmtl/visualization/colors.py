"""Colors and display names of the classes in a figure."""

from collections.abc import Sequence

import numpy as np

from mmtl.utils.class_colors import FIXED, Color, color_of
from mmtl.utils.text import cut


def figure_colors(labels: np.ndarray, num_classes: int) -> dict[int, Color]:
    """Return the color of each class that occurs in labels of any shape, from 0 on.

    Few classes have a color each, the same in every figure. Of a thousand classes only some occur in one figure: there
    the most frequent ones get the first colors.
    """
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    if num_classes <= len(FIXED):
        return {int(label): color_of(int(label)) for label in classes}
    ranked = classes[np.argsort(-counts, kind="stable")]
    return {int(label): color_of(rank) for rank, label in enumerate(ranked)}


def class_name(label: int, names: Sequence[str] | None, length: int = 24) -> str:
    """Return a class's name, cut to a length in characters, or its index if the name is unknown."""
    return cut(names[label], length) if names and label < len(names) else f"class {label}"
