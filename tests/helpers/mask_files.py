"""Masks for tests of the modules that read and write them."""

import json

import numpy as np
from PIL import Image

from mmtl.apis.convert_masks import convert_masks
from mmtl.apis.start.read_masks import read_mask

LABELS = np.array([[0, 1, 2], [2, 2, 1]])
COLORS = np.array([[10, 0, 0], [20, 0, 0], [30, 30, 30]], np.uint8)  # in ascending order


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def converted(tmp_path, source, *args, name="a.png", **options):
    count, table = convert_masks(source, tmp_path / "out", *args, **options)
    assert json.loads((tmp_path / "out/classes.json").read_text()) == dict(
        classes=table.classes, palette=table.palette
    )
    labels, palette = read_mask(tmp_path / "out" / name)
    assert palette[: len(table.palette)] == table.palette
    return count, table, labels
