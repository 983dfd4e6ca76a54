"""Rules that segmentation annotations must satisfy, shared by the hook, its loading wrapper and the check tool.

Each rule returns a :class:`Problem` without the path of the file, or None.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

NUM_LABELS = 256  # MMSegmentation reads annotations as 8 bit
INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16B")  # Pillow's names for one channel of integers


class Problem(NamedTuple):
    """One fault of one file, and the kind under which it is counted."""

    kind: str
    text: str


def file_problem(path: str | Path, decode: bool = True) -> Problem | None:
    """Check that a file is a complete image of one channel of integers below 256.

    ``decode`` also decodes 8-bit files, to detect truncation, which OpenCV 4 does not report.
    """
    try:
        with Image.open(path) as image:
            mode = image.mode
            if decode:
                image.load()
            highest = int(image.getextrema()[1]) if mode in INDEX_MODES and mode.startswith("I") else 0
    except Exception as error:  # decoders raise all kinds of errors on corrupt files
        return Problem("unreadable annotation", f"cannot be read: {error}")
    if mode not in INDEX_MODES:
        text = f"image mode must be one channel of class indices, got {mode}; replace each color by its class index"
        return Problem("color annotation", text)
    if highest >= NUM_LABELS:
        text = (
            f"values must be below {NUM_LABELS}, got values up to {highest}, of which only the lower 8 bits are read"
        )
        return Problem("label outside the classes", text)
    return None


def size_problem(shape: tuple[int, ...], image_hw: tuple[int, int]) -> Problem | None:
    """Check that the shape of the labels is that of the image."""
    if tuple(shape) == tuple(image_hw):
        return None
    sizes = (" x ".join(map(str, size)) for size in (image_hw, shape))
    return Problem("sizes differ", "size must be {} (H x W) as of the image, got {}".format(*sizes))


def label_problem(
    labels: np.ndarray, num_classes: int, ignore_index: int, reduce_zero_label: bool = False
) -> Problem | None:
    """Check that each label, as the loss reads it, is a class or ignored.

    With ``reduce_zero_label`` 1 was subtracted from the labels, and the text reports the numbers in the file.
    """
    unknown, pixels = np.unique(labels[unknown_labels(labels, num_classes, ignore_index)], return_counts=True)
    if not len(unknown):
        return None
    shift = int(reduce_zero_label)
    listed = ", ".join(f"{label + shift} ({n} pixels)" for label, n in zip(unknown[:5].tolist(), pixels, strict=False))
    known = f"{shift} to {num_classes - 1 + shift}{', 0' if shift else ''} or {ignore_index}"
    text = f"labels must be {known}, got {listed}{' and more' if len(unknown) > 5 else ''}"
    return Problem("label outside the classes", text)


def unknown_labels(labels: np.ndarray, num_classes: int, ignore_index: int) -> np.ndarray:
    """Return a boolean mask of the labels that are neither a class nor ignored."""
    return (labels >= num_classes) & (labels != ignore_index)


def restore_sides(labels: np.ndarray, image_hw: tuple[int, int] | None) -> np.ndarray:
    """Restore [H, W] for the labels of an image of one row or column: MMSegmentation's loading drops that side."""
    if image_hw is not None and labels.ndim < 2 and labels.size == math.prod(image_hw):
        return labels.reshape(image_hw)
    return labels


def decode_fully(path: str | Path) -> None:
    """Decode an image file to its end, which OpenCV 4 does not; raise an OSError if it is truncated."""
    with Image.open(path) as image:
        image.load()
