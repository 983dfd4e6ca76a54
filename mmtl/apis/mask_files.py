"""Write masks of class indices, and the table of their classes."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from mmtl.apis.start.read_masks import IGNORED, read_mask
from mmtl.utils.atomic_file import TEMPORARY_SUFFIX, atomic_file
from mmtl.utils.classes_file import CLASSES_FILE
from mmtl.utils.text import quote_name

UNFINISHED = f".masks{TEMPORARY_SUFFIX}"  # hidden folder of masks that are not complete yet


@dataclass
class Table:
    """Names and colors of the classes 0, 1, ..."""

    classes: Sequence[str]
    palette: list[list[int]]
    sources: dict[str, str] = field(default_factory=dict)  # color or gray level of masks -> class that it becomes
    notes: list[str] = field(default_factory=list)  # lines about the masks
    counts: Counter[int] = field(default_factory=Counter)  # number of written masks that have each class

    @property
    def legend(self) -> str:
        """What each class was in the masks, for a user who may have named them in another order."""
        classes = list(self.classes)
        return ", ".join(
            f"{source} is {f'class {classes.index(name)}' if name == source else quote_name(name)}"
            for source, name in self.sources.items()
        )

    @property
    def occurrences(self) -> str:
        """In how many masks each class occurs, which shows misspelled labels."""
        return ", ".join(f"{quote_name(name)} in {self.counts[index]}" for index, name in enumerate(self.classes))


MakeLabels = Callable[[], np.ndarray]  # returns class indices [H, W]
Labels = Mapping[str, MakeLabels]  # by name without suffix


def add_mask(masks: dict[str, MakeLabels], name: str, make: MakeLabels, source: Path) -> None:
    """Add a mask under the name of an input, whose suffix is removed.

    Raises:
        ValueError: The name is not a path below a folder, or another input of the source has it.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name or "\0" in name:
        raise ValueError(f"{source}: file names must be relative paths without '..', got {name!r}. Correct them.")
    key = str(path.with_suffix(""))
    if key in masks:
        raise ValueError(f"{source}: names without suffix must be different, got {key} twice. Rename a file.")
    masks[key] = make


def write_masks(out: Path, table: Table, masks: Labels) -> tuple[int, Table]:
    """Write masks and the table of their classes; nothing if one of the masks cannot be made."""
    is_new = not out.exists()
    unfinished = out / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)  # of a killed run
    try:
        for name, make in masks.items():
            write_mask(unfinished / f"{name}.png", make(), table)
        with atomic_file(out / CLASSES_FILE) as part:  # before the masks: it marks the folder as a result
            text = json.dumps(dict(classes=table.classes, palette=table.palette), ensure_ascii=False)
            part.write_text(text + "\n", encoding="utf-8")
        for name in masks:
            path = out / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(unfinished / f"{name}.png", path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if is_new and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
    return len(masks), table


def write_mask(path: Path, labels: np.ndarray, table: Table) -> None:
    """Write labels [H, W] as a PNG whose palette shows the classes, count them, and check what can be read of it."""
    present = set(np.unique(labels).tolist()) - {IGNORED}
    if present and max(present) >= len(table.classes):
        raise ValueError(f"{path}: class must be 0 to {len(table.classes) - 1}, got {max(present)}.")
    table.counts.update(present)
    image = Image.fromarray(labels.astype(np.uint8))
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(table.palette)] = table.palette
    colors[IGNORED] = 255
    image.putpalette(colors.ravel().tolist())
    with atomic_file(path) as part:
        image.save(part, format="PNG")
        if not np.array_equal(read_mask(part)[0], labels):
            raise ValueError(f"{path}: the mask that was written differs from its labels. Report this as a bug.")
