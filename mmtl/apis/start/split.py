"""Training and validation part of images, split here unless they have a split of their own."""

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

TRAIN = ("train", "training")
HELD_OUT = ("val", "valid", "validation", "test", "testing")  # the first that has images is used


@dataclass
class Split:
    """Training and validation part: paths below the folder, with a class index or the path of a mask."""

    train: list[tuple[str, object]] = field(default_factory=list)
    val: list[tuple[str, object]] = field(default_factory=list)

    @property
    def entries(self) -> list[tuple[str, object]]:
        """Both parts."""
        return self.train + self.val


def stratified_split(
    entries: Iterable[tuple[str, object]],
    val_share: float,
    groups: Sequence[Sequence[str]] = (),
    by_label: bool = True,
) -> Split:
    """Split entries so that each class has about the same share of validation images, and at least one of two.

    The images of a group are in one part, unless this would leave the class without a usable split. Without
    ``by_label``, all are of one class.
    """
    classes: dict[object, list] = defaultdict(list)
    for entry in entries:
        classes[by_label and entry[1]].append(entry)
    split, rng = Split(), random.Random(0)
    group_of = {key: number for number, group in enumerate(groups) for key in group}
    for members in classes.values():
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
