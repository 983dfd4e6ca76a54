"""A part of an annotator's classes, renumbered; several classes can become one, whose probability is their sum."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtl.score_maps.class_table import INDICES, ClassTable, is_index
from mmtl.score_maps.score_map import ScoreMap

COMMENT = re.compile(r"(^|\s)#.*")
MAX_VALUES = 2**24  # scores of all classes that are in memory at once


@dataclass(frozen=True)
class ClassSubset:
    """Some of the K classes of an annotator.

    Attributes:
        num_classes: K.
        indices: The annotator's classes of each new class.
        names: Names of the new classes.
        folders: Names of their class folders, if those of the annotator are known.
    """

    num_classes: int
    indices: list[list[int]]
    names: list[str]
    folders: list[str] | None = None

    def describe(self, annotator: dict[str, Any]) -> dict[str, Any]:
        """Return the description of an annotator that has only these classes, also if it had a subset before."""
        before = annotator.get(INDICES) or [[index] for index in range(self.num_classes)]
        own = [[index for each in indices for index in before[each]] for indices in self.indices]
        return annotator | {"class_names": self.names, "class_folders": self.folders, INDICES: own}

    def select(self, score_map: ScoreMap) -> tuple[ScoreMap, np.ndarray]:
        """Return maps of this subset, and a mask [..., h, w] of the cells in which they list any class of it.

        Args:
            score_map: maps of the annotator, whose arrays can have further axes in front.

        Logits of listed classes that become one are combined by log-sum-exp. Maps with log_norm that list all classes
        get that of the subset. Otherwise the result has none, as the logits of classes that are not listed are
        unknown; they fill the cells with logit 0, which is theirs in training without log_norm.
        """
        *shape, listed = score_map.classes.shape
        topk = min(listed, len(self.indices))
        new_class = np.full(self.num_classes, len(self.indices))  # the last number is that of all others
        for number, indices in enumerate(self.indices):
            new_class[indices] = number
        targets = new_class[score_map.classes.reshape(-1, score_map.classes.shape[-1])]
        scores = score_map.scores.reshape(targets.shape).astype(np.float32)
        is_kept = targets < len(self.indices)
        if score_map.log_norm is None:
            is_kept &= scores != 0  # as if not listed, such as what an earlier selection has filled in
        step = max(1, MAX_VALUES // (len(self.indices) + 1))
        starts = range(0, len(targets), step)
        parts = [self._top(targets[start:][:step], scores[start:][:step], topk) for start in starts]
        scores, classes = (np.concatenate(part).reshape(*shape, topk) for part in zip(*parts, strict=True))
        is_complete = score_map.log_norm is not None and listed == self.num_classes
        log_norm = np.logaddexp.reduce(scores, -1).astype(np.float16) if is_complete else None
        selected = ScoreMap(scores.astype(np.float16), classes, log_norm)
        return selected, is_kept.any(-1).reshape(shape)

    def _top(self, targets: np.ndarray, scores: np.ndarray, topk: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and classes [n, topk] of cells whose classes [n, k] are renumbered."""
        dense, rows = np.full((len(targets), len(self.indices) + 1), -np.inf, np.float32), np.arange(len(targets))
        for column, score in zip(targets.T, scores.T, strict=True):
            dense[rows, column] = np.logaddexp(dense[rows, column], score)
        listed_first = np.argsort(-dense[:, :-1], axis=-1, kind="stable")[:, :topk]
        scores = np.take_along_axis(dense, listed_first, -1)
        scores[np.isinf(scores)] = 0
        order = np.argsort(-scores, axis=-1, kind="stable")
        return np.take_along_axis(scores, order, -1), np.take_along_axis(listed_first, order, -1)


def subset_of(description: dict[str, Any], num_classes: int) -> ClassSubset:
    """Return the part of an annotator's K classes with which the maps of this description were made.

    Raises:
        ValueError: The annotator has fewer classes.
    """
    subset = ClassSubset(num_classes, description[INDICES], description["class_names"], description["class_folders"])
    if (last := max(map(max, subset.indices))) >= num_classes:
        raise ValueError(
            f"The maps were made from class {last} of an annotator, but this one has {num_classes} classes."
        )
    return subset


def read_classes(path: Path, table: ClassTable) -> ClassSubset:
    """Read a file of classes, one a line: ``class``, or ``class target`` for several classes that become one.

    A class is given by name, folder name or index. A tab separates class and target; without one, the longest
    beginning of the line that is a class is the class. Empty lines and comments, which begin with ``#``, are skipped.
    New classes are numbered in the order of their first lines, or by targets that are all numbers.

    Raises:
        ValueError: The file is not UTF-8, a line contains no class of the table or an ambiguous one, a class occurs
            twice, or numbers of new classes are missing.
    """
    targets: dict[int | str, list[int]] = {}  # by the index of the annotator's class with this name, or by a new name
    lines: dict[int, int] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a text file in UTF-8, got byte {error.object[error.start]:#x}.") from None
    for number, line in enumerate(text.splitlines(), 1):
        line = COMMENT.sub("", line)
        if not line.strip():
            continue
        try:
            index, target = _parse(line, table)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if index in lines:
            raise ValueError(f"{path}, line {number}: {line.strip()!r} names the class of line {lines[index]} again.")
        lines[index] = number
        targets.setdefault(target, []).append(index)
    if not targets:
        raise ValueError(f"{path} must list at least one class, got none.")
    targets = _numbered(targets, path)
    names, folders = (
        [_name(target, indices, own) for target, indices in targets.items()]
        for own in (table.names or table.folders, table.folders)
    )
    return ClassSubset(table.num_classes, list(targets.values()), names, folders if table.folders else None)


def _numbered(targets: dict[int | str, list[int]], path: Path) -> dict[int | str, list[int]]:
    """Return new classes in the order of their numbers, if all targets are numbers."""
    if not all(isinstance(target, str) and is_index(target) for target in targets):
        return targets
    numbers = sorted(targets, key=int)
    if [int(target) for target in numbers] != list(range(len(numbers))):
        raise ValueError(f"{path}: targets that are numbers must be 0 to n - 1, got {', '.join(numbers[:10])}.")
    return {target: targets[target] for target in numbers}


def _name(target: int | str, indices: list[int], own: list[str] | None) -> str:
    """Return the name of a new class: a name of the annotator's class, unless several get a name of their own."""
    index = indices[0] if isinstance(target, str) and is_index(target) and len(indices) == 1 else target
    return own[index] if own and isinstance(index, int) else str(index)


def _parse(line: str, table: ClassTable) -> tuple[int, int | str]:
    """Return the class of a line and its new class, as an index if it has the name of a class of the table."""
    source, tab, target = (part.strip() for part in line.strip().partition("\t"))
    words = source.split()
    for end in [len(words)] if tab else range(len(words), 0, -1):
        name = " ".join(words[:end])
        found = table.find(name) or ([int(name)] if is_index(name, table.num_classes) else [])
        if len(found) > 1:
            both = " and ".join(map(str, found))
            raise ValueError(f"{name!r} must be one class, got the classes {both}. Give the index or the folder name.")
        if found:
            target = target or " ".join(words[end:])
            same = table.find(target) if target else found
            return found[0], same[0] if len(same) == 1 else target
    known = [kind for kind, own in (("the name", table.names), ("the folder name", table.folders)) if own]
    kinds = " or ".join([*known, "the index"])
    raise ValueError(f"{source!r} must be {kinds} of one of the annotator's {table.num_classes} classes.")
