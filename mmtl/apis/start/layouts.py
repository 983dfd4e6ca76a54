"""What to do about folders in a layout that `mmtl start` does not read, but recognizes."""

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mmtl.apis.json_entries import read_json
from mmtl.apis.polygon_masks import check_kind
from mmtl.utils.image_files import files_under, is_hidden
from mmtl.utils.text import shorten

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
    """Return how to convert files of COCO or labelme in a folder."""
    documents = sorted(key for key in files_under(root) if key.lower().endswith(".json") and not is_hidden(key))
    kinds = {key: annotation_kind(root / key) for key in documents[:MAX_DOCUMENTS]}
    coco, labelme = ([key for key, each in kinds.items() if each == kind] for kind in ("COCO", "labelme"))
    if not coco and not labelme:
        return ""
    first, below, others = (coco or labelme)[0], Path(), ""
    if coco:
        source = root / first
        folder = Path(first).parent
        if any(Path(key).parent in (folder, folder / "images") for key in keys):
            below = Path(*(part for part in folder.parts if part != "images"))
        apart = "" if below.parts else f", each into a folder of its own in {root / 'masks'}"
        others = f" Do the same with {shorten(coco[1:], 3)}{apart}." if coco[1:] else ""
    else:
        tops = {key.partition("/")[0] if "/" in key else "" for key in labelme}
        source = root / tops.pop() if len(tops) == 1 else root
    command = shlex.join(["mmtl", "convert_masks", str(source), str(root / "masks" / below)])
    images = [key for key in keys if not key.startswith("masks/")]
    is_ready = all("images" in Path(key).parts[:-1] for key in images)
    move = "" if is_ready else f" Move the images to {root / 'images' / below}."
    if len(images) < len(keys):
        remedy = f"give them the paths that their images have below {root / 'images'}"
        return f" {root / 'masks'} has masks already{f': {remedy}.' if is_ready else f'.{move}'}"
    return f" {root / first} has polygons of {kinds[first]}. Run {command}.{move}{others}"


def annotation_kind(path: Path) -> str:
    """Return which tool's annotations a JSON file has; empty for others."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return ""
    with suppress(ValueError):
        check_kind(content, path)
        return "COCO"
    return "labelme" * ("shapes" in content)


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
