"""Colors and display names of classes, the same in every figure."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb

import numpy as np

GOLDEN_RATIO = 0.618034  # hues at steps of it stay apart, however many there are; the closest are 5, 8, 13 ... apart
TONES = ((1.0, 1.0), (0.6, 1.0), (1.0, 0.7))  # saturation and value in turn: indices 5, 8 and 13 apart differ in it

Color = tuple[float, float, float]


def color_of(index: int) -> Color:
    """Return the RGB color, 0 to 1, at an index of an unlimited palette; neighbors differ most."""
    return hsv_to_rgb(GOLDEN_RATIO * index % 1, *TONES[index % 3])


def class_palette(num_classes: int) -> np.ndarray:
    """Return the colors of classes 0 to K - 1, uint8 [K, 3] RGB."""
    colors = [color_of(label) for label in range(num_classes)]
    return np.multiply(colors, 255).round().astype(np.uint8).reshape(-1, 3)


def colors_by_frequency(labels: np.ndarray) -> dict[int, Color]:
    """Return the color of each class that occurs in labels of any shape, the most frequent classes first.

    Of a thousand classes only a few occur in one figure: by rank, their hues are further apart than by index.
    """
    classes, counts = np.unique(labels, return_counts=True)
    ranked = classes[np.argsort(-counts, kind="stable")]
    return {int(label): color_of(rank) for rank, label in enumerate(ranked)}


def class_name(label: int, names: Sequence[str] | None, length: int = 24) -> str:
    """Return a class's index and the start of its name, or only its index if the name is unknown."""
    return f"{label} {str(names[label])[:length]}" if names and label < len(names) else f"class {label}"
