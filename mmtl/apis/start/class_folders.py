"""Images in class folders, which may be in folders such as ``train`` and ``val``."""

import difflib
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from mmtl.apis.start.found_images import FoundImages
from mmtl.apis.start.layouts import layout_hint, without_ending
from mmtl.apis.start.masks import MAX_COLORS
from mmtl.apis.start.split import HELD_OUT, TRAIN, Split, stratified_split
from mmtl.utils.image_files import empty_folders
from mmtl.utils.text import shorten


def find_classes(root: Path, keys: Sequence[str], val_share: float, convert: str) -> FoundImages:
    """Return the images of class folders, split by folders such as ``train`` and ``val`` if there are any."""
    tops = {key.split("/")[0]: key.split("/")[0].lower() for key in keys if "/" in key}
    train = next((top for top, name in tops.items() if name in TRAIN), None)
    held_out = [top for each in HELD_OUT for top, name in tops.items() if name == each]
    val = held_out[0] if held_out and (train or is_beside_classes(held_out[0], keys)) else None
    prefix = f"{train}/" if train else ""
    apart = tuple(f"{name}/" for name in held_out) if val and not train else ()  # beside the class folders
    images = [key for key in keys if key.startswith(prefix) and not key.startswith(apart)]
    classes = class_names(root, images, prefix, convert)
    check_no_masks(root, images, [prefix + name for name in classes])
    label = {name: index for index, name in enumerate(classes)}
    split = Split([(key, label[key.removeprefix(prefix).split("/")[0]]) for key in images])
    if val:
        held = [(key, key.split("/")[1]) for key in keys if key.startswith(f"{val}/")]
        if unknown := sorted({name for _, name in held} - set(classes)):
            raise ValueError(f"{root / val}: {unknown_class(unknown[0], classes, root / prefix)}")
        split.val = [(key, label[name]) for key, name in held]
    return FoundImages(
        root,
        split if val else stratified_split(split.train, val_share),
        tuple(classes),
        has_val=bool(val),
        empty=empty_folders(root / prefix, [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]),
        beside=sorted(top for top, name in tops.items() if train and top != train and name not in HELD_OUT),
        classes_inside=folder_of_classes(images, prefix),
    )


def is_beside_classes(held_out: str, keys: Sequence[str]) -> bool:
    """Return whether a folder such as ``val``, beside class folders, has folders of their names."""
    names = {key.split("/")[1] for key in keys if key.startswith(f"{held_out}/") and key.count("/") > 1}
    return any(top in names and top.lower() not in HELD_OUT for top in (key.split("/")[0] for key in keys))


def class_names(root: Path, keys: Sequence[str], prefix: str, convert: str) -> list[str]:
    """Return the names of the class folders, sorted.

    Raises:
        ValueError: An image is in none, or there are not several, or they are parts of a split.
    """
    below = {key: key.removeprefix(prefix).split("/") for key in keys}
    classes = sorted({parts[0] for parts in below.values() if len(parts) > 1})
    loose = next((key for key, parts in below.items() if len(parts) == 1), None)
    are_parts = {re.sub(r"\W*\d+$", "", name.lower()) for name in classes} <= {*TRAIN, *HELD_OUT}
    if not loose and not are_parts and len(classes) > 1:
        return classes
    if are_parts and len(classes) > 1:
        problem = f"its folders are parts of a split: {shorten(classes)}."
    else:
        problem = f"{loose} is in no class folder." if loose else f"the only class folder is {classes[0]!r}."
    remedy = "" if loose else convert
    if not loose and (inside := folder_of_classes(keys, prefix)):
        remedy = f" If this has the classes, run {shlex.join(['mmtl', 'start', str(root / inside)])}."
    raise ValueError(
        f"{root} must have a folder of images for each of several classes, or images and masks in folders such as "
        f"images/ and masks/, which `mmtl convert_masks` can make of polygons, but {problem}"
        + (layout_hint(root, keys) or remedy)
    )


def folder_of_classes(keys: Sequence[str], prefix: str) -> str:
    """Return the class folder, if any, that may be the folder of the classes, since no class has an image of its own.

    Of several with folders of images, it is the one with the most images.
    """
    below = [key.removeprefix(prefix).split("/")[:-1] for key in keys]
    inner = {(folders[0], folders[1]) for folders in below if len(folders) > 1}
    several = {name for name, count in Counter(name for name, _ in inner).items() if count > 1}
    counts = Counter(folders[0] for folders in below if folders[0] in several)
    return prefix + counts.most_common(1)[0][0] if counts and min(map(len, below)) > 1 else ""


def check_no_masks(root: Path, keys: Sequence[str], classes: Sequence[str]) -> None:
    """Raise a ValueError if two class folders have the same file names, and one of them has files like masks."""
    if len(classes) != 2:
        return
    files = [{key.removeprefix(f"{name}/"): key for key in keys if key.startswith(f"{name}/")} for name in classes]
    stems = [{without_ending(Path(key).with_suffix("").as_posix().lower()) for key in each} for each in files]
    if 2 * len(stems[0] & stems[1]) < min(map(len, stems)):
        return
    shares = [share_of_masks([root / key for key in list(each.values())[:5]]) for each in files]
    if max(shares) < 1 or min(shares) > 0.5:  # photos, or drawings, whose names are numbers
        return
    masks, images = classes if shares[0] == 1 else classes[::-1]
    example = root / next(key for key in keys if key.startswith(f"{masks}/"))
    raise ValueError(
        f"{root}: class folders must have images of two classes, got {images}/ and {masks}/ with files of the same "
        f"names, of which those of {masks}/ look like masks, such as {example}. If they are masks, rename the folders "
        "to images and masks; if these are two classes, rename the files of one of them."
    )


def share_of_masks(paths: Sequence[Path]) -> float:
    """Return the share of the files that can be read that have as few values or colors, for their size, as masks."""
    found = []
    for path in paths:
        with suppress(Exception), Image.open(path) as image:  # decoders raise all kinds of errors on corrupt files
            colors = (image if image.mode in ("1", "L", "P") else image.convert("RGB")).getcolors(MAX_COLORS)
            found.append(colors is not None and 4 * len(colors) <= image.width * image.height)
    return sum(found) / max(len(found), 1)


def unknown_class(name: str, classes: Sequence[str], train: Path) -> str:
    """Return what is wrong with a class folder for validation that training lacks, and both remedies."""
    names = {each.casefold(): each for each in classes}
    close = difflib.get_close_matches(name.casefold(), names, n=1)
    other = f"{names[close[0]]!r}, if it is the same class," if close else "one of these"
    return (
        f"{name!r} is not a class folder of {train}, which has {shorten(classes)}. Rename it to {other} or add "
        f"training images in {train / name}."
    )
