"""Draw the polygons of labelme and COCO as masks of class indices."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmtl.apis.json_entries import (
    AREA,
    ID,
    NEEDED,
    POINTS,
    SHAPE,
    SIDE,
    TEXT,
    by_id,
    check_field,
    entries_of,
    read_json,
    short,
)
from mmtl.apis.listed_images import mask_names
from mmtl.apis.mask_files import Labels, MakeLabels, Table, add_mask
from mmtl.apis.start.class_values import check_different
from mmtl.apis.start.read_masks import IGNORED
from mmtl.utils.class_colors import class_palette
from mmtl.utils.image_files import IMAGE_SUFFIXES
from mmtl.utils.read_image import image_size
from mmtl.utils.text import join_names, shorten

BACKGROUND = "background"
OTHER_KINDS = dict(segments_info="panoptic segmentation", keypoints="keypoints", caption="captions")
SHAPES = ("polygon", "rectangle", "circle")


def is_labelme(path: Path) -> bool:
    """Return whether a JSON file is one of labelme's, by a part of its keys."""
    return bool({"shapes", "imageHeight", "imageWidth"} & set(read_json(path)))


def polygon_table(labels: Mapping[str, Path], classes: Sequence[str]) -> tuple[Table, int]:
    """Return the classes of polygons, and which of them is the background, the first unless the user orders it.

    Args:
        labels: labels of polygons, each with a file that has it.
        classes: the user's names; empty: the labels in alphabetical order.
    """
    check_different(classes)
    names = list(classes or sorted(labels))
    for label, path in labels.items():
        if label not in names and not is_background(label):
            raise ValueError(
                f"{path}: --classes must have the label {label!r}, got {join_names(names)}. Correct the label in the "
                "file, or add it to --classes."
            )
    if not classes:
        names.sort(key=lambda name: not is_background(name))
    if not any(map(is_background, names)):
        names.insert(0, BACKGROUND)
    background = next(index for index, name in enumerate(names) if is_background(name))
    if len(names) > IGNORED:
        raise ValueError(f"Masks must have at most {IGNORED} classes, got {len(names)} labels. Merge some of them.")
    palette = class_palette(len(names))
    palette[background] = 0
    alike = defaultdict(list)
    for name in names:
        alike[name.strip().casefold()].append(f"{name!r}")
    texts = [" and ".join(each) for each in alike.values() if len(each) > 1]
    text = f"WARNING: names that differ only in case or spaces are different classes: {shorten(texts)}"
    return Table(names, palette.tolist(), notes=[text] * bool(texts)), background


def is_background(name: str) -> bool:
    """Return whether a class is the background, which labelme's examples call ``_background_``."""
    return name.strip("_").lower() == BACKGROUND


def from_labelme(root: Path, documents: Sequence[Path], classes: Sequence[str]) -> tuple[Table, Labels]:
    """Return the classes of labelme's polygons, rectangles and circles, and their masks."""
    contents = {path: read_json(path) for path in documents}
    fields = dict(label=TEXT, points=POINTS)
    shapes = {path: entries_of(content, "shapes", fields, path) for path, content in contents.items()}
    sizes = {path: labelme_size(each, path) for path, each in contents.items()}
    labels: dict[str, Path] = {}
    outside = []
    for path, shape in ((path, shape) for path, each in shapes.items() for shape in each):
        check_shape(shape, path)
        labels.setdefault(shape["label"], path)
        outside += [f"{path} ({shape['label']})"] * is_outside(corners_of(shape), sizes[path])
    if not labels:
        raise ValueError(f"{root}: files of labelme must have shapes, got {len(contents)} without one. Draw some.")
    table, background = polygon_table(labels, classes)
    check_pixels([shape["points"] for each in shapes.values() for shape in each], root)
    table.notes += left_out(outside=outside)
    index = {name: each for each, name in enumerate(table.classes)}

    def labels_of(path: Path) -> np.ndarray:
        image = Image.new("L", sizes[path], background)
        for shape in shapes[path]:  # later shapes cover earlier ones, as labelme shows them
            draw_shape(ImageDraw.Draw(image), shape, index.get(shape["label"], background))
        return np.array(image)

    masks: dict[str, MakeLabels] = {}
    for path in documents:
        add_mask(masks, path.relative_to(root).as_posix(), partial(labels_of, path), root)
    return table, masks


def labelme_size(content: Mapping, path: Path) -> tuple[int, int]:
    """Return width and height in a file of labelme; those of the image file beside it if it has none."""
    keys = ("imageWidth", "imageHeight")
    if any(content.get(key) is None for key in keys):
        named = [path.parent / str(content.get("imagePath")).replace("\\", "/")]
        found = (image_size(each) for each in [*named, *map(path.with_suffix, IMAGE_SUFFIXES)])
        content = dict(zip(keys, next(filter(None, found), (None, None)), strict=True))
    for key in keys:
        check_field(content, key, SIDE, f"{path}, whose image is not beside it" if content[key] is None else f"{path}")
    return int(content[keys[0]]), int(content[keys[1]])


def check_shape(shape: Mapping, path: Path) -> None:
    """Raise a ValueError if a shape of labelme has no area."""
    kind, count = shape.get("shape_type"), len(shape["points"])
    kind = "polygon" if kind is None else kind
    where = f"{path}: shape {shape['label']!r}"
    if kind not in SHAPES:
        raise ValueError(
            f"{path}: shapes must be polygons, rectangles or circles, got {kind} {shape['label']!r}. Remove it, or "
            "draw it as a polygon."
        )
    if kind == "polygon" and count < 3:
        raise ValueError(f"{where} must have at least 3 points as a polygon, got {count}. Remove it, or add points.")
    if kind != "polygon" and count != 2:
        raise ValueError(f"{where} must have 2 points as a {kind}, got {count}. Remove it, or draw it again.")


def corners_of(shape: Mapping) -> np.ndarray:
    """Return the points [N, 2] of a polygon that `check_shape` accepts, or two corners of the box of another shape."""
    points = np.array(shape["points"], float)
    if shape.get("shape_type") == "circle":  # center and a point of its edge
        radius = np.hypot(*(points[1] - points[0]))
        return np.stack([points[0] - radius, points[0] + radius])
    return np.sort(points, axis=0) if shape.get("shape_type") == "rectangle" else points


def is_outside(points: np.ndarray, size: tuple[int, int]) -> bool:
    """Return whether all of a polygon's points [N, 2] are beyond one side of an image of this width and height."""
    return bool((points.max(0) < 0).any() or (points.min(0) >= size).any())


def draw_shape(draw: ImageDraw.ImageDraw, shape: Mapping, label: int) -> None:
    """Draw a shape of labelme with a class index as its color."""
    methods = dict(rectangle=draw.rectangle, circle=draw.ellipse)
    points = [tuple(point) for point in corners_of(shape).tolist()]
    methods.get(shape.get("shape_type"), draw.polygon)(points, fill=label)


def left_out(**problems: Sequence[object]) -> list[str]:
    """Return warnings of annotations of which nothing is drawn."""
    texts = dict(
        orphans="belong to no image of the file",
        shapeless="have no polygon, such as boxes",
        outside="are completely outside of their image",
    )
    return [
        f"WARNING: annotations that {texts[kind]}, and are not drawn: {len(each)}: {shorten(each)}"
        for kind, each in problems.items()
        if each
    ]


def check_pixels(polygons: Iterable[Sequence], where: Path) -> None:
    """Raise a ValueError if the coordinates of all polygons are from 0 to 1."""
    points = [np.ravel(each) for each in polygons]
    if points and min(map(np.min, points)) >= 0 and max(map(np.max, points)) <= 1:
        raise ValueError(
            f"{where}: polygons must have coordinates in pixels, got only 0 to 1, which are normalized. Multiply them "
            "by width and height of their image."
        )


def check_kind(content: Mapping, path: Path) -> None:
    """Raise a ValueError if a file of COCO has annotations of other kinds only."""
    entries = content.get("annotations")
    fields = [each.items() for each in entries if isinstance(each, Mapping)] if isinstance(entries, list) else []
    keys = {key for items in fields for key, value in items if value}
    if kind := next((kind for key, kind in OTHER_KINDS.items() if key in keys and "segmentation" not in keys), None):
        raise ValueError(f"{path} is a file of {kind} of COCO; {NEEDED}.")
    if not {"images", "annotations", "categories"} <= set(content):
        raise ValueError(f"{path} must have images, annotations and categories, as COCO, got {', '.join(content)}.")


def from_coco(path: Path, out: Path, classes: Sequence[str]) -> tuple[Table, Labels]:
    """Return the classes of a COCO file's polygons and run-length masks, and their masks, which ``out`` will have."""
    content = read_json(path)
    check_kind(content, path)
    images = entries_of(content, "images", dict(id=ID, file_name=TEXT, height=SIDE, width=SIDE), path)
    categories = by_id(entries_of(content, "categories", dict(id=ID, name=TEXT), path), "categories", path)
    by_image, notes = coco_shapes(content, by_id(images, "images", path), categories, path)
    names = {key: category["name"] for key, category in categories.items()}
    table, background = polygon_table(dict.fromkeys(names.values(), path), classes)
    mask_paths, absent = mask_names(images, path, out)
    table.notes = [*same_names(names), *table.notes, *notes, *absent]
    index = {key: table.classes.index(name) if name in table.classes else background for key, name in names.items()}

    def labels_of(image: Mapping) -> np.ndarray:
        labels = np.full((int(image["height"]), int(image["width"])), background, np.uint8)
        # Small objects last: they are in front of, or part of, larger ones.
        for annotation in sorted(by_image[image["id"]], key=lambda each: -(each.get("area") or 0)):
            draw_coco(labels, annotation, index[annotation["category_id"]], path)
        return labels

    masks: dict[str, MakeLabels] = {}
    for image, name in zip(images, mask_paths, strict=True):
        add_mask(masks, name, partial(labels_of, image), path)
    return table, masks


def same_names(names: Mapping[object, str]) -> list[str]:
    """Return notes about categories, by id, that become one class."""
    ids = defaultdict(list)
    for key, name in names.items():
        ids[name].append(key)
    return [
        f"categories with the ids {shorten(keys)} have the same name and are one class: {name}"
        for name, keys in ids.items()
        if len(keys) > 1
    ]


def coco_shapes(
    content: Mapping, images: Mapping, categories: Mapping, path: Path
) -> tuple[Mapping[object, list[Mapping]], list[str]]:
    """Return the annotations of COCO that can be drawn, by image, and warnings about the others."""
    kinds = dict(image_id=ID, category_id=ID, segmentation=SHAPE, area=AREA)
    annotations = entries_of(content, "annotations", kinds, path)
    by_image, skipped = defaultdict(list), defaultdict(list)
    for position, annotation in enumerate(annotations):
        name, shape = f"id {annotation.get('id', f'missing, at index {position}')}", annotation.get("segmentation")
        image = images.get(annotation["image_id"])
        if annotation["category_id"] not in categories:
            raise ValueError(
                f"{path}: annotations[{position}] ({name}): category_id must be one of the file's categories "
                f"({shorten(categories) or 'it has none'}), got {annotation['category_id']}. Correct it, or add one."
            )
        if image is None:
            skipped["orphans"].append(name)
        elif not shape:
            skipped["shapeless"].append(name)
        elif isinstance(shape, list) and all(
            is_outside(np.reshape(each, (-1, 2)), (image["width"], image["height"])) for each in shape
        ):
            skipped["outside"].append(f"{name} ({image['file_name']})")
        else:
            by_image[annotation["image_id"]].append(annotation)
    notes = left_out(**skipped)
    shapes = [each["segmentation"] for found in by_image.values() for each in found]
    check_pixels([points for shape in shapes if isinstance(shape, list) for points in shape], path)
    if not by_image:
        got = "; ".join(notes).replace("WARNING: ", "") or "none"
        raise ValueError(f"{path}: annotations must have polygons or masks of its images, got {got}. Export it again.")
    return by_image, notes


def draw_coco(labels: np.ndarray, annotation: Mapping, label: int, path: Path) -> None:
    """Draw an annotation into labels [H, W]: polygons, or a run-length mask."""
    shape = annotation["segmentation"]
    if isinstance(shape, Mapping):
        labels[decode_runs(shape, labels.shape, f"{path}: annotation with id {annotation.get('id')}")] = label
        return
    image = Image.fromarray(labels)
    for points in shape:
        ImageDraw.Draw(image).polygon(list(zip(points[::2], points[1::2], strict=True)), fill=label)
    labels[:] = np.array(image)


def decode_runs(runs: Mapping, shape: tuple[int, int], where: str) -> np.ndarray:
    """Return a run-length mask of COCO as bool [H, W]."""
    counts = runs.get("counts")
    counts = run_lengths(counts) if isinstance(counts, str) else counts
    is_valid = isinstance(counts, list) and all(isinstance(each, int) and each >= 0 for each in counts)
    if runs.get("size") != list(shape) or not is_valid or sum(counts) != math.prod(shape):
        raise ValueError(
            f"{where}: segmentation must be a run-length mask of {shape[0]} x {shape[1]} pixels (H x W), got "
            f"{short(runs)}. Correct it, or remove the annotation."
        )
    return np.repeat(np.arange(len(counts)) % 2, counts).reshape(shape, order="F") > 0  # by columns, from background


def run_lengths(text: str) -> list[int]:
    """Return the runs of a compressed mask of COCO: 5 bits in a character, the lowest first.

    From the fourth on, runs are differences to the run before the last, which is of the same value. Not by
    pycocotools: where runs are too short, its masks show what the memory held before.
    """
    counts: list[int] = []
    value = shift = 0
    for bits in (ord(character) - 48 for character in text):
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last character of this run, which has its sign
            value -= (bits >> 4 & 1) << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
