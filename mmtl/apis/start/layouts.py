"""What to do about folders in a layout that `mmtl start` does not read, but recognizes."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from mmtl.apis.json_entries import read_json
from mmtl.utils.image_files import files_under, is_hidden

MASK_ENDING = re.compile(
    r"(?<=.)[ ._-](gt|((color|seg)_?)?masks?|labels?|lbl|seg(mentation)?|ann(otations?)?|l|"
    r"(gtfine_)?label(train)?ids|color)$"
)
MAX_DOCUMENTS = 20  # JSON files that are read


def without_ending(stem: str) -> str:
    """Return the name of a mask, in lower case, without an ending such as ``_mask``."""
    return MASK_ENDING.sub("", stem)


def layout_hint(root: Path, keys: Sequence[str]) -> str:
    """Return the command that makes a folder readable, as a sentence after a space; empty if it is not known.

    Args:
        root: folder.
        keys: paths of the images below it.
    """
    return annotation_hint(root, keys) or beside_hint(root, keys)


def annotation_hint(root: Path, keys: Sequence[str]) -> str:
    """Return how to convert the first file of COCO or labelme in a folder."""
    documents = sorted(key for key in files_under(root) if key.lower().endswith(".json") and not is_hidden(key))
    for key in documents[:MAX_DOCUMENTS]:
        try:
            content = read_json(root / key)
        except (OSError, ValueError):
            continue
        if {"images", "annotations", "categories"} <= set(content):
            kind, source = "COCO", root / key
        elif "shapes" in content:
            tops = {each.partition("/")[0] if "/" in each else "" for each in documents}
            kind, source = "labelme", root / tops.pop() if len(tops) == 1 else root
        else:
            continue
        command = shlex.join(["mmtl", "convert_masks", str(source), str(root / "masks")])
        is_ready = all(image.startswith("images/") for image in keys)
        move = "" if is_ready else f" Move the images to {root / 'images'}."
        return f" {root / key} has polygons of {kind}. Run {command}.{move}"
    return ""


def beside_hint(root: Path, keys: Sequence[str]) -> str:
    """Return how to move masks that are in the folders of their images, with an ending or as PNG beside JPEG."""
    paths = [Path(key) for key in keys]
    images = {path.with_suffix("").as_posix().lower(): path for path in paths if path.suffix.lower() != ".png"}
    images = {path.with_suffix("").as_posix().lower(): path for path in paths} | images
    for mask in paths:
        stem = mask.with_suffix("").as_posix().lower()
        base = without_ending(stem)
        image = images.get(base)
        if image is None or image == mask or mask.suffix.lower() != ".png":
            continue
        folder = shlex.quote(str(root / mask.parent))
        ending = mask.name[len(base.rpartition("/")[2]) :]
        return (
            f" If {mask} is the mask of {image}, run: cd {folder} && mkdir images masks && "
            f"mv *{shlex.quote(ending)} masks/ && mv *{image.suffix} images/"
        )
    return ""
