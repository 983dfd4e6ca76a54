"""Images that resemble each other, such as frames of a burst or copies, by small thumbnails."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from mmtl.utils.processes import usable_cpus

SIDE = 16  # pixels of a thumbnail
RESEMBLES = 0.96  # correlation of two thumbnails, at least
EQUAL = 0.9995  # that of an image saved again
END_BYTES = 4096  # of files of one size, compared before all of their content
BLANK = 4  # gray levels of deviation from the mean color, below which thumbnails are not compared


def find_near_duplicates(
    root: Path, entries: Sequence[tuple[str, object]]
) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Return groups of images of one class that resemble each other, and pairs of equal images of two classes.

    Args:
        root: folder.
        entries: path below it and class of each image; those that cannot be read resemble none.
    """
    paths = [root / key for key, _ in entries]
    with ThreadPoolExecutor(usable_cpus()) as pool:  # Pillow decodes without Python's lock
        thumbnails = np.stack(list(pool.map(thumbnail, paths)))
    similarity = thumbnails @ thumbnails.T
    for copies in byte_identical(paths):
        similarity[np.ix_(copies, copies)] = 1
    labels = np.unique([str(label) for _, label in entries], return_inverse=True)[1]
    same_class = labels[:, None] == labels
    groups = defaultdict(list)
    for (key, _), group in zip(entries, components(same_class & (similarity >= RESEMBLES)), strict=True):
        groups[group].append(key)
    pairs = np.argwhere(np.triu(~same_class & (similarity >= EQUAL)))
    return [group for group in groups.values() if len(group) > 1], [(entries[i][0], entries[j][0]) for i, j in pairs]


def equal_images(root: Path, train: Sequence[str], val: Sequence[str]) -> list[tuple[str, str]]:
    """Return the second images that have the same content as one of the first, each after the first of these."""
    keys, pairs = [*train, *val], []
    for copies in byte_identical([root / key for key in keys]):
        if copies[0] < len(train):  # indices are in ascending order
            pairs += [(keys[copies[0]], keys[index]) for index in copies if index >= len(train)]
    return pairs


def thumbnail(path: Path) -> np.ndarray:
    """Return a thumbnail as a vector of length 1 whose products are correlations; zeros of blank or corrupt images."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (8 * SIDE, 8 * SIDE))  # JPEGs are decoded at a small size
            pixels = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    except Exception:  # decoders raise all kinds of errors on corrupt files
        return np.zeros(SIDE * SIDE * 3, np.float32)
    values = np.asarray(pixels, np.float32)
    values = (values - values.mean((0, 1))).ravel()
    return values / np.linalg.norm(values) if values.std() >= BLANK else np.zeros_like(values)


def byte_identical(paths: Sequence[Path]) -> list[list[int]]:
    """Return the indices of files with the same content; only files of one size and end are read."""
    groups = [list(range(len(paths)))]
    for key in (lambda path: path.stat().st_size, last_bytes, lambda path: hashlib.sha256(path.read_bytes()).digest()):
        parts = defaultdict(list)
        for number, group in enumerate(groups):
            for index in group:
                parts[number, key(paths[index])].append(index)
        groups = [group for group in parts.values() if len(group) > 1]
    return groups


def last_bytes(path: Path) -> bytes:
    """Return the end of a file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - END_BYTES))
        return file.read()


def components(adjacent: np.ndarray) -> np.ndarray:
    """Return the connected component of each node of a symmetric bool [N, N] matrix: the least index in it."""
    found = np.arange(len(adjacent))
    adjacent = adjacent | np.eye(len(adjacent), dtype=bool)
    while True:
        least = np.where(adjacent, found, len(found)).min(1)
        if (least == found).all():
            return found
        found = least
