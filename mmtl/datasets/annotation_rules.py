"""Rules that segmentation annotations must satisfy, shared by the hook, the datasets and the check tool."""

import math
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

Labels = TypeVar("Labels", np.ndarray, Tensor)

LABELS = 256  # MMSegmentation reads annotations as 8 bit
INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16B")  # Pillow's names for one channel of numbers


def unknown_labels(labels: Labels, num_classes: int, ignore_index: int) -> Labels:
    """Return which labels are neither a class nor ignored, as a boolean mask of the same shape.

    Args:
        labels: class indices of any shape, as they go into the loss.
        num_classes: K; 0 to K - 1 are classes.
        ignore_index: label without a class.
    """
    return (labels >= num_classes) & (labels != ignore_index)


def restore_sides(labels: np.ndarray, image_hw: tuple[int, int] | None) -> np.ndarray:
    """Restore [H, W] for the labels of an image of one row or column: MMSegmentation's loading drops that side."""
    if image_hw is not None and labels.ndim < 2 and labels.size == math.prod(image_hw):
        return labels.reshape(image_hw)
    return labels


def decode_fully(path: str | Path) -> str:
    """Decode an image file to its end, which OpenCV 4 does not, and return its Pillow mode.

    Raises:
        OSError: The file is corrupt or truncated.
    """
    with Image.open(path) as image:
        image.load()
        return image.mode


def highest_beyond_8_bit(path: str | Path) -> int:
    """Return the highest value of a 16 or 32 bit image, and 0 for images of other depths."""
    with Image.open(path) as image:
        return int(image.getextrema()[1]) if image.mode.startswith("I") else 0


def where_images_are(dataset: object) -> str:
    """Return the list, or the folder and suffix, by which a dataset finds its images."""
    return dataset.ann_file or f"{dataset.data_prefix.get('img_path')} (files ending in {dataset.img_suffix})"
