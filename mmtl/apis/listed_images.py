"""Find the image files that a COCO file lists, for the paths and the sizes of their masks."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from mmtl.utils.image_files import files_under
from mmtl.utils.read_image import image_size, size_difference
from mmtl.utils.text import shorten

DRIVE = re.compile(r"[a-zA-Z]:(?=/)|//[^/]+/[^/]+(?=/)")  # of Windows, or a folder of a server


def mask_names(images: Sequence[Mapping], path: Path, out: Path) -> tuple[list[str], list[str]]:
    """Return the path of each image's mask below ``out``, as the suffix of its image, and a warning of absent images.

    An image is searched beside the file, in ``images/`` beside it, and in the folder above. Its mask gets the path
    that it has there, which need not be that in the file. Masks of images that are not found get the file's.

    Raises:
        ValueError: An image has another size than in the file.
    """
    names = [image["file_name"].replace("\\", "/") for image in images]
    names = [name[match.end() + 1 :] if (match := DRIVE.match(name)) else name for name in names]
    places = [folder / name for folder in (path.parent, path.absolute().parent.parent) for name in ("images", "")]
    files = {place: files_by_name(place, deep=place.name == "images") for place in places}
    found = [next(filter(None, (find(name, *place) for place in files.items())), None) for name in names]
    shared = Counter(found)
    found = [each if shared[each] == 1 else None for each in found]  # one file is not the image of two entries
    check_sizes(images, found, path)
    missing = [name for name, file in zip(names, found, strict=True) if file is None]
    notes = []
    if missing and any(found):
        text = f"{len(missing)} of {len(names)} images are not beside {path.name} or in images/"
        notes = [f"WARNING: {text}: {shorten(missing, 3)}"]
    return [below(file[1], out) if file else name for name, file in zip(names, found, strict=True)], notes


def files_by_name(root: Path, deep: bool) -> dict[str, list[str]]:
    """Return the paths of files in a folder, and in those below it if ``deep``, by the names of the files."""
    files = defaultdict(list)
    if os.access(root, os.R_OK) and root.is_dir():
        for key in files_under(root) if deep else [each.name for each in root.iterdir() if each.is_file()]:
            files[key.rpartition("/")[2]].append(key)
    return files


def find(name: str, root: Path, files: Mapping[str, list[str]]) -> tuple[Path, str] | None:
    """Return a folder and the only file that has the name and as many of the last folders of a path as possible."""
    parts = name.split("/")
    if parts[0] and ".." not in parts and os.path.isfile(root / name):
        return root, name
    for count in range(len(parts), 0, -1):
        equal = [key for key in files.get(parts[-1], ()) if key.split("/")[-count:] == parts[-count:]]
        if len(equal) == 1:
            return root, equal[0]
    return None


def below(key: str, out: Path) -> str:
    """Return a path without the folders that ``out`` ends in: of train/a.jpg in masks/train, a.jpg."""
    parts = PurePosixPath(key).parts
    count = next((n for n in range(len(parts) - 1, 0, -1) if out.absolute().parts[-n:] == parts[:n]), 0)
    return str(PurePosixPath(*parts[count:]))


def check_sizes(images: Sequence[Mapping], found: Sequence[tuple[Path, str] | None], path: Path) -> None:
    """Raise a ValueError if an image that was found has another size than in the file."""
    problems = []
    for image, file in zip(images, found, strict=True):
        size, listed = file and image_size(file[0] / file[1]), (int(image["height"]), int(image["width"]))
        if size and (problem := size_difference(listed, size[::-1], str(file[0] / file[1]))):
            swapped = "; height and width may be exchanged" * (listed == size)
            problems.append(f"{path}: image {file[0] / file[1]}: {problem}{swapped}")
    if problems:
        more = f" {len(problems) - 1} other images have the same fault." * (len(problems) > 1)
        raise ValueError(f"{problems[0]}. Correct the file, or use the images that were annotated.{more}")
