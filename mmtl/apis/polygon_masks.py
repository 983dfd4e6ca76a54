"""Draw the polygons of labelme and COCO as masks of class indices."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmtl.apis.mask_files import Labels, MakeLabels, Table, add_mask
from mmtl.utils.class_colors import class_palette

BACKGROUND = "background"
SHAPES = ("polygon", "rectangle", "circle")


def is_labelme(path: Path) -> bool:
    """Return whether a JSON file is one of labelme's."""
    return {"shapes", "imageHeight", "imageWidth"} <= set(read_json(path))


def read_json(path: Path) -> Mapping:
    """Return the content of a JSON file that is a dictionary."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}.") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must contain a dictionary, got {type(content).__name__}.")
    return content


def polygon_table(labels: Mapping[str, Path], classes: Sequence[str]) -> tuple[Table, int]:
    """Return the classes of polygons, and which of them is the background, the first unless the user orders it.

    Args:
        labels: labels of polygons, each with a file that has it.
        classes: the user's names; empty: the labels in alphabetical order.
    """
    names = list(classes or sorted(labels))
    for label, path in labels.items():
        if label not in names and not is_background(label):
            raise ValueError(
                f"{path}: --classes must have the label {label!r}, got {', '.join(names)}. Correct the label in the "
                "file, or add it to --classes."
            )
    if not classes:
        names.sort(key=lambda name: not is_background(name))
    if not any(map(is_background, names)):
        names.insert(0, BACKGROUND)
    background = next(index for index, name in enumerate(names) if is_background(name))
    palette = class_palette(len(names))
    palette[background] = 0
    return Table(names, palette.tolist()), background


def is_background(name: str) -> bool:
    """Return whether a class is the background, which labelme's examples call ``_background_``."""
    return name.strip("_").lower() == BACKGROUND


def from_labelme(root: Path, documents: Sequence[Path], classes: Sequence[str]) -> tuple[Table, Labels]:
    """Return the classes of labelme's polygons, rectangles and circles, and their masks."""
    contents = {path: read_json(path) for path in documents}
    labels: dict[str, Path] = {}
    for path, content in contents.items():
        for shape in content["shapes"]:
            check_shape(shape, path)
            labels.setdefault(shape["label"], path)
    table, background = polygon_table(labels, classes)
    index = {name: each for each, name in enumerate(table.classes)}

    def labels_of(content: Mapping) -> np.ndarray:
        image = Image.new("L", (content["imageWidth"], content["imageHeight"]), background)
        for shape in content["shapes"]:  # later shapes cover earlier ones, as labelme shows them
            draw_shape(ImageDraw.Draw(image), shape, index.get(shape["label"], background))
        return np.array(image)

    masks: dict[str, MakeLabels] = {}
    for path, content in contents.items():
        add_mask(masks, path.relative_to(root).as_posix(), partial(labels_of, content), root)
    return table, masks


def check_shape(shape: Mapping, path: Path) -> None:
    """Raise a ValueError if a shape of labelme has no area."""
    kind, count = shape.get("shape_type", "polygon"), len(shape["points"])
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


def draw_shape(draw: ImageDraw.ImageDraw, shape: Mapping, label: int) -> None:
    """Draw a shape of labelme that `check_shape` accepts, with a class index as its color."""
    points, kind = [tuple(point) for point in shape["points"]], shape.get("shape_type", "polygon")
    if kind == "polygon":
        draw.polygon(points, fill=label)
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = points
        draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=label)
    else:
        (x, y), edge = points
        radius = float(np.hypot(edge[0] - x, edge[1] - y))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=label)


def from_coco(path: Path, classes: Sequence[str]) -> tuple[Table, Labels]:
    """Return the classes of a COCO file's polygons and run-length masks, and their masks."""
    content = read_json(path)
    if not {"images", "annotations", "categories"} <= set(content):
        raise ValueError(f"{path} must have images, annotations and categories, as COCO, got {', '.join(content)}.")
    names = {category["id"]: category["name"] for category in content["categories"]}
    table, background = polygon_table(dict.fromkeys(names.values(), path), classes)
    index = {key: table.classes.index(name) if name in table.classes else background for key, name in names.items()}
    by_image = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)

    def labels_of(image: Mapping) -> np.ndarray:
        labels = np.full((image["height"], image["width"]), background, np.uint8)
        # Small objects last: they are in front of, or part of, larger ones.
        for annotation in sorted(by_image[image["id"]], key=lambda each: -each.get("area", 0)):
            draw_coco(labels, annotation, index[annotation["category_id"]])
        return labels

    masks: dict[str, MakeLabels] = {}
    for image in content["images"]:
        add_mask(masks, image["file_name"], partial(labels_of, image), path)
    return table, masks


def draw_coco(labels: np.ndarray, annotation: Mapping, label: int) -> None:
    """Draw an annotation into labels [H, W]: polygons, or a run-length mask, which needs pycocotools."""
    shape = annotation.get("segmentation") or []
    if isinstance(shape, Mapping):
        labels[decode_runs(shape)] = label
        return
    image = Image.fromarray(labels)
    for points in shape:
        if len(points) >= 6:
            ImageDraw.Draw(image).polygon(list(zip(points[::2], points[1::2], strict=True)), fill=label)
    labels[:] = np.array(image)


def decode_runs(runs: Mapping) -> np.ndarray:
    """Return a run-length mask of COCO as bool [H, W]."""
    if isinstance(runs["counts"], list):  # uncompressed: column by column, background first
        flat = np.repeat(np.arange(len(runs["counts"])) % 2, runs["counts"])
        return flat.reshape(runs["size"], order="F").astype(bool)
    try:
        from pycocotools import mask
    except ImportError:
        raise ImportError("Compressed masks of COCO need pycocotools: pip install pycocotools") from None
    return mask.decode(dict(size=runs["size"], counts=runs["counts"])).astype(bool)
