"""Make masks of class indices from masks of colors or of 0 and 255, and from polygons of labelme and COCO."""

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mmtl.apis.mask_files import Labels, MakeLabels, Table, add_mask, write_masks
from mmtl.apis.polygon_masks import BACKGROUND, from_coco, from_labelme, is_labelme
from mmtl.apis.start.class_values import as_gray, check_different, parse_pairs, parse_value
from mmtl.apis.start.image_masks import match_masks
from mmtl.apis.start.masks import FoundMasks, find_masks
from mmtl.apis.start.read_masks import IGNORED, MIDDLE, Value, code_of, read_mask, text_of
from mmtl.utils.class_colors import class_palette
from mmtl.utils.classes_file import CLASSES_FILE
from mmtl.utils.image_files import IMAGE_SUFFIXES, files_under, is_hidden, is_image
from mmtl.utils.out_folder import check_out_folder
from mmtl.utils.text import shorten

FOREGROUND = "foreground"


def convert_masks(
    source: Path, out: Path, classes: Sequence[str] = (), ignore: str | None = None
) -> tuple[int, Table]:
    """Write a mask of class indices, a PNG with a palette, for each input, and ``classes.json`` beside them.

    Args:
        source: folder of masks, folder of labelme's JSON files, or a COCO JSON file.
        out: folder to write: new, empty, or of an earlier conversion of the same files, which is replaced; must not
            contain the source.
        classes: names in the order of the indices; of colors and gray levels in ascending order, or in any order as
            "#804080=road" or "255=road". Empty: those of the source, after "background" for polygons.
        ignore: gray level ("255") or color ("#ffffff") of pixels without a class.

    Returns:
        tuple[int, Table]: The number of masks, and the classes.

    Raises:
        FileNotFoundError: The source does not exist or holds nothing to convert.
        ValueError: The source cannot be converted, the folder has other files, or a mask that was written is not
            what it should be. Nothing is written then.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist. Give a folder of masks or a JSON file.")
    if source.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"{out} contains the source. Choose another folder for the masks.")
    table, masks = read_source(source, out, classes, ignore)
    check_out_folder(out, CLASSES_FILE, [CLASSES_FILE, *(f"{name}.png" for name in masks)])
    return write_masks(out, table, masks)


def read_source(source: Path, out: Path, classes: Sequence[str], ignore: str | None) -> tuple[Table, Labels]:
    """Return the classes and the masks of a source, which may contain ``out``; arguments as in `convert_masks`."""
    if source.is_file():
        return from_coco(source, out, classes)
    names = sorted(name for name in files_under(source, out) if not is_hidden(name))
    documents = [source / name for name in names if name.lower().endswith(".json")]
    documents = [path for path in documents if is_labelme(path)]
    masks = list(filter(is_image, names))
    if documents:  # labelme keeps its files beside the images
        return from_labelme(source, documents, classes)
    if masks:
        return from_values(source, masks, classes, ignore)
    raise FileNotFoundError(f"{source} contains neither masks nor JSON files of labelme.")


def next_step(out: Path) -> str:
    """Return how training goes on from a folder of index masks that were written."""
    folder = out.parent
    pairs, *_ = match_masks([key for key in files_under(folder) if key.lower().endswith(IMAGE_SUFFIXES)])
    if pairs and all((folder / mask).is_relative_to(out) for _, mask in pairs):
        return f"mmtl start {shlex.quote(str(folder))}"
    return (
        "put them into FOLDER/masks and their images, of the same names, into FOLDER/images, then: mmtl start FOLDER"
    )


def from_values(
    root: Path, names: Sequence[str], classes: Sequence[str], ignore: str | None = None
) -> tuple[Table, Labels]:
    """Return the classes of masks of colors, gray levels, or 0 and 255, and their labels."""
    found = find_masks([root / name for name in names], limit=None)
    ignored, pairs = parse_value(ignore, found), parse_pairs(classes)
    check_different(classes)
    if ignored is not None and ignored not in found.values:
        raise ValueError(f"--ignore must be a value of the masks ({found.listed}), got {ignore}. Correct or omit it.")
    values = [value for value in found.values if value != ignored]
    if found.kind == "index" and (pairs or len(classes) == len(values) < found.num_classes):  # names of gray levels
        found.kind = "gray"
        values = [value for value in values if value != IGNORED or not pairs or value in pairs]
    if found.kind == "index":
        raise ValueError(f"{root}: the masks have class indices already, of {found.num_classes} classes.")
    if found.kind == "binary" and not pairs:
        if ignored is not None:
            raise ValueError(
                f"--ignore must not be one of the only values 0 and 255 of the masks, got {ignore}. Omit it."
            )
        values = [0, IGNORED]
    if pairs:
        values, classes = named_values(found, values, pairs, ignored)
    elif classes and len(classes) != len(values):
        shown, given = ", ".join(map(text_of, values)), f"{len(classes)} name{'s' * (len(classes) != 1)}"
        raise ValueError(f"--classes must name the {len(values)} values {shown} in this order, got {given}.")
    table, indices = value_table(found, values, classes)
    table.notes = [*found.warnings(values=table.sources), *ignored_notes(found, values)]
    codes = code_of(np.array(values)) if found.kind == "color" else np.array(values)
    order = np.argsort(codes)

    def labels_of(path: Path) -> np.ndarray:
        pixels = read_mask(path)[0]
        if pixels.ndim == 3:
            pixels = code_of(pixels) if found.kind == "color" else pixels[..., 0]
        if found.smoothed:
            pixels = np.where(pixels > MIDDLE, IGNORED, 0)
        index = order[np.searchsorted(codes[order], pixels).clip(max=len(codes) - 1)]
        return np.where(codes[index] == pixels, indices[index], IGNORED)

    masks: dict[str, MakeLabels] = {}
    for name in names:
        add_mask(masks, name, partial(labels_of, root / name), root)
    return table, masks


def named_values(
    found: FoundMasks, values: Sequence[Value], pairs: Mapping[Value, str], ignored: Value | None
) -> tuple[list[Value], list[str]]:
    """Return the values that a user names, in this order, and their names; ``values`` are those that need one.

    Raises:
        ValueError: A value of the masks has no name, a value is not of their kind, or one is named and ignored.
    """
    is_color = found.kind == "color"
    if not is_color:
        pairs = {as_gray(value): name for value, name in pairs.items()}
    unlike = [text_of(value) for value in pairs if isinstance(value, int) == is_color]
    if unlike:
        kind = "colors such as #4682b4" if is_color else "gray levels such as 255"
        raise ValueError(f"--classes must name {kind} of these masks ({found.listed}), got {unlike[0]}. Correct it.")
    if ignored in pairs:
        text = f"{text_of(ignored)}={pairs[ignored]}"
        raise ValueError(f"--classes must not name the value of --ignore, got {text}. Omit one of them.")
    missing = [f"{text_of(value)} ({found.place_of(value)})" for value in values if value not in pairs]
    if missing:
        got = f"got no name for {shorten(missing, 10)}"
        raise ValueError(f"--classes must name every value of the masks, or --ignore it, {got}. Add the names.")
    return list(pairs), list(pairs.values())


def value_table(found: FoundMasks, values: Sequence[Value], names: Sequence[str]) -> tuple[Table, np.ndarray]:
    """Return the classes of values, and the class index of each; values of one name are one class."""
    texts = [text_of(value) for value in values]
    if not names:
        default = [f"gray {text}" for text in texts] if found.kind == "gray" else texts
        names = [BACKGROUND, FOREGROUND] if found.kind == "binary" else default
    classes = list(dict.fromkeys(names))
    indices = np.array([classes.index(name) for name in names])
    palette = class_palette(len(classes)).tolist()
    if found.kind == "color":
        palette = [list(values[list(names).index(name)]) for name in classes]
    return Table(classes, palette, dict(zip(texts, names, strict=True))), indices


def ignored_notes(found: FoundMasks, values: Sequence[Value]) -> list[str]:
    """Return a line about the values of masks that become no class."""
    ignored = [
        f"{text_of(value)} ({found.share(value)} of the pixels)" for value in found.values if value not in values
    ]
    return [f"ignored: {', '.join(ignored)}"] if ignored else []
