"""The classes of an annotator by index, name or folder name (standard library only)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmtl.utils.imagenet_wnids import wnid_labels

INDICES = "class_indices"  # in an annotator's description: its own classes, for each class of the maps


class ClassTable:
    """Finds classes by folder name (ImageNet's wnids), class name or one of its synonyms, in this order.

    Case and underscores of class names do not matter: 'great_white_shark' is 'great white shark, white shark, ...'.

    Args:
        num_classes: K.
        names: K class names, with synonyms after commas, if they are known.
        folders: K names of class folders that differ from the class names, such as wnids.
    """

    def __init__(
        self, num_classes: int, names: Sequence[str] | None = None, folders: Sequence[str] | None = None
    ) -> None:
        self.num_classes = num_classes
        self.names = list(names) if names and len(names) == num_classes else None
        self.folders = list(folders) if folders and len(folders) == num_classes else None
        names = self.names or []
        self._are_image_folders = False
        self._numbered = 0
        self._levels = [
            _by_name([folder] for folder in self.folders or ()),
            _by_name([name] for name in names),
            _by_name([_plain(name)] for name in names),
            _by_name(map(_plain, name.split(",")) for name in names),
        ]

    @classmethod
    def of(cls, annotator: Mapping[str, Any], num_classes: int, image_folders: Sequence[str] = ()) -> "ClassTable":
        """Return the table of an annotator's description, as it is stored in a manifest.

        If the description has no folders, the sorted class folders of the images are the K classes if there are K and
        the description has no names either; and 1,000 classes are ImageNet's if all class folders are wnids.
        """
        names, folders = annotator.get("class_names"), annotator.get("class_folders")
        if not folders and num_classes == len(wnid_labels()) and image_folders:
            folders = list(wnid_labels()) if wnid_labels().keys() >= set(image_folders) else None
        if not folders and not names and len(image_folders) == num_classes:
            folders = image_folders
        table = cls(num_classes, names, folders)
        table._are_image_folders = folders is image_folders
        if annotator.get(INDICES):
            table._numbered = sum(name == str(index) for index, name in enumerate(table.names or ()))
        return table

    def find(self, name: str) -> list[int]:
        """Return the indices of the classes with a name: none if it is unknown, several if it is ambiguous."""
        plain = _plain(name)
        for level, key in zip(self._levels, (name, name, plain, plain), strict=True):
            if key in level:
                return level[key]
        return []

    def moved(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        """Return the names, with their index among the names and here, that have another index here."""
        found = [(name, index, self.find(name)) for index, name in enumerate(names)]
        return [(name, index, own[0]) for name, index, own in found if len(own) == 1 and own[0] != index]

    @property
    def short_names(self) -> list[str] | None:
        """The class names without synonyms, if they are known."""
        return self.names and [name.split(",")[0] for name in self.names]

    def name(self, index: int) -> str:
        """Return the name of a class without synonyms, or its index."""
        return self.names[index].split(",")[0] if self.names else str(index)

    def of_folders(self, folders: Sequence[str]) -> dict[str, int]:
        """Return the class index of each sorted class folder that is a class; empty if none is known.

        Folders are known by name; for ImageNet by their index ('0' to '999'); and K folders by their order if no names
        of classes are known, or if most folders have the name of the class in their position, or a class that a file
        of classes numbers, and none has another one's.
        """
        return self._of_folders(folders)[0]

    def takes_order(self, folders: Sequence[str]) -> bool:
        """Return whether `of_folders` takes the class of folders from their order."""
        return self._of_folders(folders)[1]

    def _of_folders(self, folders: Sequence[str]) -> tuple[dict[str, int], bool]:
        found = {folder: self.find(folder) for folder in folders}
        known = {folder: indices[0] for folder, indices in found.items() if len(indices) == 1}
        order = {folder: index for index, folder in enumerate(folders)}
        if len(known) == len(folders):
            return known, self._are_image_folders and bool(folders)
        if self.folders == list(wnid_labels()) and all(is_index(folder, self.num_classes) for folder in folders):
            return {folder: int(folder) for folder in folders}, False
        is_likely = not (self.names or self.folders) or 2 * (len(known) + self._numbered) > len(folders)
        if is_likely and len(folders) == self.num_classes and known.items() <= order.items():
            return order, True
        return known, False


def _by_name(synonyms: Iterable[Iterable[str]]) -> dict[str, list[int]]:
    """Return the indices of the classes with each name, from the names of each class."""
    found: dict[str, list[int]] = {}
    for index, names in enumerate(synonyms):
        for name in set(names):
            found.setdefault(name, []).append(index)
    return found


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def is_index(name: str, num_classes: int | None = None) -> bool:
    """Return whether a name is an index, of one of K classes if K is given."""
    return name.isascii() and name.isdecimal() and (num_classes is None or int(name) < num_classes)
