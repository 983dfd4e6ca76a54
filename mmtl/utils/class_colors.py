"""Colors of classes by index, the same in every figure and dataset (NumPy only)."""

from colorsys import hsv_to_rgb

import numpy as np

# Okabe and Ito's colors without black, and some of Tol's: distinct without full color vision, too. In the order in
# which those before stay apart when they are laid over an image.
FIXED = "0072B2 D55E00 F0E442 009E73 661100 332288 E69F00 882255 999933 CC79A7 56B4E9 BBBBBB".split()
GOLDEN_RATIO = 0.618034  # hues at steps of it stay apart, however many there are; the closest are 5, 8, 13 ... apart
TONES = ((1.0, 1.0), (0.6, 1.0), (1.0, 0.7))  # saturation and value in turn: indices 5, 8 and 13 apart differ in it

Color = tuple[float, float, float]


def color_of(index: int) -> Color:
    """Return the RGB color, 0 to 1, at an index of an unlimited palette; the first ones differ most."""
    if index < len(FIXED):
        return tuple(value / 255 for value in bytes.fromhex(FIXED[index]))
    return hsv_to_rgb(GOLDEN_RATIO * index % 1, *TONES[index % 3])


def class_palette(num_classes: int) -> np.ndarray:
    """Return the colors of classes 0 to K - 1, uint8 [K, 3] RGB."""
    colors = [color_of(label) for label in range(num_classes)]
    return np.multiply(colors, 255).round().astype(np.uint8).reshape(-1, 3)
