"""Rules that segmentation annotations must satisfy, shared by the hook, its loading wrapper and the data check.

Each rule returns a :class:`Problem` without the path of the file, or None.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmtl.utils.classes_file import known_classes
from mmtl.utils.read_image import UPRIGHT, orientation_of, size_difference, turn_upright
from mmtl.utils.text import join_names

NUM_LABELS = 256  # MMSegmentation reads annotations as 8 bit
MIN_IGNORED = 0.1  # share of the pixels from which on absent classes are suspicious
ORIENTATION_NOTE = (
    "have an EXIF orientation; they are read upright, as viewers show them, and their annotations must be upright, too"
)
UNCLEAR_NOTE = (
    "have no EXIF orientation, and their images have one that keeps the size (180 degrees, mirrored, square): nothing "
    "shows whether they are upright. Compare some with their images, and rewrite those that are not"
)
NAMES_REMEDY = "Run `mmtl start FOLDER --force` for configs of these masks, or correct the classes"
RENAMED = "classes renamed"  # kind of a problem that is only a warning
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


def size_problem(shape: tuple[int, ...], image_hw: tuple[int, int], img_path: str | None = None) -> Problem | None:
    """Check that the shape of the labels is that of the image."""
    text = size_difference(shape, image_hw, img_path)
    return Problem("sizes differ", text) if text else None


def is_unclear(image: int, mask: int, image_hw: tuple[int, int]) -> bool:
    """Return whether a mask without orientation fits its image, which has one, both upright and as it is stored."""
    return image != UPRIGHT and mask == UPRIGHT and (image < 5 or image_hw[0] == image_hw[1])


def turn_mask(labels: np.ndarray, path: str | Path | None) -> np.ndarray:
    """Turn the labels of a file upright by its EXIF orientation, which MMSegmentation's loading ignores."""
    return turn_upright(labels, orientation_of(path)) if path else labels


def names_problem(classes: Sequence[str], folder: str | Path, reduce_zero_label: bool = False) -> Problem | None:
    """Compare the class names of a dataset with those in the classes.json of its masks, if they have one.

    As many names, of which some or all are new, may be better names, of the kind ``RENAMED``.
    """
    if not classes or not (found := known_classes(folder)):
        return None
    path, names = found[0], found[1]["classes"]
    if list(classes) in ([names, names[1:]] if reduce_zero_label else [names]):
        return None
    changed = {name for name, known in zip(classes, names, strict=False) if name != known}
    is_renamed = len(classes) == len(names) and not changed & set(names)
    text = f"must be the classes of the masks, in the order of {path} ({join_names(names)}), got {join_names(classes)}"
    return Problem(RENAMED if is_renamed else "class names differ", text)


def dataset_names_problems(dataset: object, pairs: Iterable[Mapping]) -> Iterator[Problem]:
    """Yield problems, with the folder, of the class names of a dataset whose pairs have their masks in folders."""
    classes, reduced = dataset.metainfo.get("classes") or (), getattr(dataset, "reduce_zero_label", False)
    folders = {Path(pair["seg_map_path"]).parent for pair in pairs if pair.get("seg_map_path")}
    is_mapped = getattr(dataset, "label_map", None)  # some of the classes, or in another order
    for folder in () if is_mapped else sorted(folders):
        if problem := names_problem(classes, folder, reduced):
            yield Problem(problem.kind, f"{folder}: classes of the dataset {problem.text}. {NAMES_REMEDY}")


def unused_class_problem(
    pixels: np.ndarray, num_classes: int, ignore_index: int, complete: bool = True, reduce_zero_label: bool = False
) -> Problem | None:
    """Check that masks do not ignore what should be a class, such as those of 0 and 255 for two classes.

    Args:
        pixels: int64 [256], pixels of each label as the loss reads it.
        num_classes: K.
        ignore_index: label without a class.
        complete: whether all masks are counted; in a few of many, a class may be absent by chance.
        reduce_zero_label: whether 1 was subtracted from the labels.
    """
    if not pixels.sum() or not 0 <= ignore_index < len(pixels):
        return None
    present, ignored = np.flatnonzero(pixels[:num_classes]), pixels[ignore_index] / pixels.sum()
    is_one = len(present) <= 1 < num_classes and ignored > 0
    if not is_one and not (complete and len(present) < num_classes and ignored >= MIN_IGNORED):
        return None
    absent = sorted(set(range(num_classes)) - set(present.tolist()))
    text = f"classes {', '.join(map(str, absent[:5]))} occur in no mask, and {ignored:.0%} of the pixels are "
    if not reduce_zero_label:
        text += f"{ignore_index}, which is ignored; masks must hold the values 0, 1, ... of the classes, not 0 and 255"
        return Problem("ignored class", text)
    fits = absent == [num_classes - 1]
    reason = f"the values 0 to {num_classes - 1} are {num_classes} classes" if fits else "value 0 is a class"
    text += f"0 or {ignore_index} in the files; reduce_zero_label=True removes the value 0: set it to False "
    return Problem("ignored class", text + ("as " if fits else "if ") + reason)


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
