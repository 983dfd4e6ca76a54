"""Training and validation part of images that have no split of their own."""

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Split:
    """Training and validation part: paths below the folder, with a class index or the path of a mask."""

    train: list[tuple[str, object]] = field(default_factory=list)
    val: list[tuple[str, object]] = field(default_factory=list)


def stratified_split(
    entries: Iterable[tuple[str, object]], val_share: float, seed: int = 0, groups: Sequence[Sequence[str]] = ()
) -> Split:
    """Split entries so that each class has about the same share of validation images, and at least one of two.

    The images of a group are in one part, unless this would leave the class without a usable split.
    """
    by_label: dict[object, list] = defaultdict(list)
    for entry in entries:
        by_label[entry[1]].append(entry)
    split, rng = Split(), random.Random(seed)
    group_of = {key: number for number, group in enumerate(groups) for key in group}
    for members in by_label.values():
        rng.shuffle(members)
        together: dict[object, list] = defaultdict(list)
        for entry in members:
            together[group_of.get(entry[0], entry[0])].append(entry)
        chosen = set(take_groups(list(together.values()), val_share))
        split.val += chosen
        split.train += [entry for entry in members if entry not in chosen]
    return Split(sorted(split.train), sorted(split.val))


def take_groups(groups: Sequence[list], share: float) -> list:
    """Return the entries of groups, in order, that are about a share of all; of parts of groups if these are large."""
    entries = list(itertools.chain(*groups))
    count, chosen = min(max(1, round(share * len(entries))), len(entries) - 1), []
    for group in groups:
        if abs(len(chosen) + len(group) - count) < abs(len(chosen) - count):
            chosen += group
    chosen = chosen or min(groups, key=len)
    is_usable = count <= 2 * len(chosen) <= max(3 * count, len(entries)) and len(chosen) < len(entries)
    return chosen if is_usable else entries[:count]
