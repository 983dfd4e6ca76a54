"""Make masks of class indices from masks of colors or of 0 and 255, and from polygons of labelme and COCO."""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmtl.apis.start.folder import pair_masks
from mmtl.apis.start.masks import IGNORED, FoundMasks, Value, find_masks, parse_pairs, read_mask, text_of, value_of
from mmtl.apis.start.segmentation import CLASSES_FILE
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.class_colors import class_palette
from mmtl.utils.image_files import IMAGE_SUFFIXES, files_under, is_hidden

BACKGROUND = "background"
FOREGROUND = "foreground"


@dataclass
class Table:
    """Names and colors of the classes 0, 1, ..."""

    classes: Sequence[str]
    palette: list[list[int]]
    sources: dict[str, str] = field(default_factory=dict)  # color or gray level of masks -> class that it becomes
    notes: Sequence[str] = ()  # lines about the masks

    @property
    def legend(self) -> str:
        """What each class was in the masks, for a user who may have named them in another order."""
        classes = list(self.classes)
        return ", ".join(
            f"{source} is {f'class {classes.index(name)}' if name == source else name}"
            for source, name in self.sources.items()
        )


Labels = Iterator[tuple[str, np.ndarray]]  # name without suffix, class indices [H, W]


def convert_masks(
    source: Path, out: Path, classes: Sequence[str] = (), ignore: str | None = None
) -> tuple[int, Table]:
    """Write a mask of class indices, a PNG with a palette, for each input, and ``classes.json`` beside them.

    Args:
        source: folder of masks, folder of labelme's JSON files, or a COCO JSON file.
        out: folder to write; must not contain the source.
        classes: names in the order of the indices; of colors and gray levels in ascending order, or in any order as
            "#804080=road" or "255=road". Empty: those of the source, after "background" for polygons.
        ignore: gray level ("255") or color ("#ffffff") of pixels without a class.

    Returns:
        tuple[int, Table]: The number of masks, and the classes.

    Raises:
        FileNotFoundError: The source does not exist or holds nothing to convert.
        ValueError: The source cannot be converted, or a mask that was written is not what it should be.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist. Give a folder of masks or a JSON file.")
    if source.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"{out} contains the source. Choose another folder for the masks.")
    if source.is_file():
        return write_masks(out, *from_coco(source, classes))
    names = sorted(name for name in files_under(source, out) if not is_hidden(name))
    documents = [source / name for name in names if name.lower().endswith(".json")]
    documents = [path for path in documents if is_labelme(path)]
    masks = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    if documents:  # labelme keeps its files beside the images
        return write_masks(out, *from_labelme(source, documents, classes))
    if masks:
        return write_masks(out, *from_values(source, masks, classes, ignore))
    raise FileNotFoundError(f"{source} contains neither masks nor JSON files of labelme.")


def write_masks(out: Path, table: Table, masks: Labels) -> tuple[int, Table]:
    """Write masks and, when all are complete, the table of their classes."""
    count = 0
    for name, labels in masks:
        write_mask(out / f"{name}.png", labels, table)
        count += 1
    with atomic_file(out / CLASSES_FILE) as part:
        text = json.dumps(dict(classes=table.classes, palette=table.palette), ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")
    return count, table


def next_step(out: Path) -> str:
    """Return how training goes on from a folder of index masks that were written."""
    folder = out.parent
    pairs = pair_masks([key for key in files_under(folder) if key.lower().endswith(IMAGE_SUFFIXES)])
    if pairs and all((folder / mask).is_relative_to(out) for _, mask in pairs):
        return f"mmtl start {shlex.quote(str(folder))}"
    return (
        "put them into FOLDER/masks and their images, of the same names, into FOLDER/images, then: mmtl start FOLDER"
    )


def write_mask(path: Path, labels: np.ndarray, table: Table) -> None:
    """Write labels [H, W] as a PNG whose palette shows the classes, and check what can be read of it."""
    present = set(np.unique(labels).tolist()) - {IGNORED}
    if present and max(present) >= len(table.classes):
        raise ValueError(f"{path}: class must be 0 to {len(table.classes) - 1}, got {max(present)}.")
    image = Image.fromarray(labels.astype(np.uint8))
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(table.palette)] = table.palette
    colors[IGNORED] = 255
    image.putpalette(colors.ravel().tolist())
    with atomic_file(path) as part:
        image.save(part, format="PNG")
        if not np.array_equal(read_mask(part)[0], labels):
            raise ValueError(f"{path}: the mask that was written differs from its labels. Report this as a bug.")


def from_values(
    root: Path, names: Sequence[str], classes: Sequence[str], ignore: str | None = None
) -> tuple[Table, Labels]:
    """Return the classes of masks of colors, gray levels, or 0 and 255, and their labels."""
    found = find_masks([root / name for name in names], limit=None)
    ignored, pairs = parse_value(ignore), parse_pairs(classes)
    values = [value for value in found.values if value != ignored]
    if found.kind == "index" and (pairs or len(classes) == len(values) < found.num_classes):  # names of gray levels
        found.kind = "gray"
        values = [value for value in values if value != IGNORED or not pairs or value in pairs]
    if found.kind == "index":
        raise ValueError(f"{root}: the masks have class indices already, of {found.num_classes} classes.")
    if found.kind == "binary" and not pairs:
        values = [0, IGNORED]
    if pairs:
        values, classes = named_values(values, pairs, found.kind == "color")
    elif classes and len(classes) != len(values):
        shown, given = ", ".join(map(text_of, values)), f"{len(classes)} name{'s' * (len(classes) != 1)}"
        raise ValueError(f"--classes must name the {len(values)} values {shown} in this order, got {given}.")
    table, indices = value_table(found, values, classes)
    table.notes = [*found.warnings(), *ignored_notes(found, values)]
    codes = np.array([encode(value) for value in values])
    order = np.argsort(codes)

    def labels() -> Labels:
        for name in names:
            pixels = read_mask(root / name)[0].astype(np.int64)
            if pixels.ndim == 3:
                pixels = pixels @ (1 << 16, 1 << 8, 1) if found.kind == "color" else pixels[..., 0]
            index = order[np.searchsorted(codes[order], pixels).clip(max=len(codes) - 1)]
            yield str(Path(name).with_suffix("")), np.where(codes[index] == pixels, indices[index], IGNORED)

    return table, labels()


def named_values(values: Sequence[Value], pairs: Mapping[Value, str], is_color: bool) -> tuple[list[Value], list[str]]:
    """Return the values that a user names, in this order, and their names.

    Raises:
        ValueError: A value of the masks has no name.
    """
    if not is_color:  # gray levels may be given as colors
        pairs = {key[0] if isinstance(key, tuple) and len(set(key)) == 1 else key: pairs[key] for key in pairs}
    missing = ", ".join(text_of(value) for value in values if value not in pairs)
    if missing:
        raise ValueError(f"--classes must name every value of the masks, or --ignore it, got no name for {missing}.")
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


def parse_value(text: str | None) -> Value | None:
    """Return the value of ``--ignore``, if it is given."""
    try:
        return None if text is None else value_of(text)
    except ValueError:
        raise ValueError(
            f"--ignore must be a gray level such as 255 or a color such as #ff0000, got {text}."
        ) from None


def encode(value: int | Sequence[int]) -> int:
    """Return a color as one number; a gray level as it is."""
    return value if isinstance(value, int) else value[0] << 16 | value[1] << 8 | value[2]


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


def polygon_table(labels: Sequence[str], classes: Sequence[str], source: Path) -> Table:
    """Return the classes of polygons: the background, then their labels, unless the user has named all of them."""
    names = list(classes) or [BACKGROUND, *sorted(set(labels) - {BACKGROUND})]
    unknown = sorted(set(labels) - set(names))
    if unknown:
        raise ValueError(f"{source}: --classes must have the label {unknown[0]!r}, got {', '.join(names)}.")
    palette = class_palette(len(names))
    palette[0] = 0 if names[0] == BACKGROUND else palette[0]
    return Table(names, palette.tolist())


def from_labelme(root: Path, documents: Sequence[Path], classes: Sequence[str]) -> tuple[Table, Labels]:
    """Return the classes of labelme's polygons, rectangles and circles, and their labels."""
    contents = {path: read_json(path) for path in documents}
    labels = [shape["label"] for content in contents.values() for shape in content["shapes"]]
    table = polygon_table(labels, classes, root)

    def labels_of() -> Labels:
        for path, content in contents.items():
            image = Image.new("L", (content["imageWidth"], content["imageHeight"]), 0)
            for shape in content["shapes"]:  # later shapes cover earlier ones, as labelme shows them
                draw_shape(ImageDraw.Draw(image), shape, table.classes.index(shape["label"]), path)
            yield str(path.relative_to(root).with_suffix("")), np.array(image)

    return table, labels_of()


def draw_shape(draw: ImageDraw.ImageDraw, shape: Mapping, label: int, path: Path) -> None:
    """Draw a shape of labelme with a class index as its color."""
    points, kind = [tuple(point) for point in shape["points"]], shape.get("shape_type", "polygon")
    if kind == "polygon" and len(points) >= 3:
        draw.polygon(points, fill=label)
    elif kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=label)
    elif kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = float(np.hypot(edge[0] - x, edge[1] - y))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=label)
    else:
        raise ValueError(
            f"{path}: shapes must be polygons, rectangles or circles, got {kind} with {len(points)} points. Remove it."
        )


def from_coco(path: Path, classes: Sequence[str]) -> tuple[Table, Labels]:
    """Return the classes of a COCO file's polygons and run-length masks, and their labels."""
    content = read_json(path)
    if not {"images", "annotations", "categories"} <= set(content):
        raise ValueError(f"{path} must have images, annotations and categories, as COCO, got {', '.join(content)}.")
    names = {category["id"]: category["name"] for category in content["categories"]}
    table = polygon_table(list(names.values()), classes, path)
    index = {key: table.classes.index(name) for key, name in names.items()}
    by_image = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)

    def labels_of() -> Labels:
        for image in content["images"]:
            labels = np.zeros((image["height"], image["width"]), np.uint8)
            # Small objects last: they are in front of, or part of, larger ones.
            for annotation in sorted(by_image[image["id"]], key=lambda each: -each.get("area", 0)):
                draw_coco(labels, annotation, index[annotation["category_id"]])
            yield str(Path(image["file_name"]).with_suffix("")), labels

    return table, labels_of()


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
