"""Check the entries of JSON files that annotation tools wrote."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MAX_COORDINATE = 2**20  # Pillow draws no circles that are much larger
MAX_SIDE = 2**16  # of an image, in pixels; formats such as JPEG have no larger one


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def is_coordinate(value: object) -> bool:
    """Return whether a value is a number that Pillow draws at."""
    return is_number(value) and abs(value) < MAX_COORDINATE


def are_points(value: object) -> bool:
    """Return whether a value is a list of points [x, y]."""
    return isinstance(value, list) and all(
        isinstance(point, list) and len(point) == 2 and all(map(is_coordinate, point)) for point in value
    )


def are_polygons(value: object) -> bool:
    """Return whether a value is a list of polygons as flat lists of coordinates."""
    return isinstance(value, list) and all(
        isinstance(points, list) and len(points) >= 6 and len(points) % 2 == 0 and all(map(is_coordinate, points))
        for points in value
    )


# Kinds of values, as messages name them.
ID, TEXT, POINTS = "a number or text", "text that is not empty", "a list of points [x, y] of numbers below 2^20"
SIDE, AREA = f"a whole number from 1 to {MAX_SIDE}", "a number, if it is given"
SHAPE = "polygons [x1, y1, x2, y2, ...] of at least 3 points of numbers below 2^20, or a run-length mask"
KINDS: Mapping[str, Callable[[object], bool]] = {
    ID: lambda value: is_number(value) or isinstance(value, str),
    TEXT: lambda value: isinstance(value, str) and bool(value.strip()),
    POINTS: are_points,
    SIDE: lambda value: is_number(value) and 1 <= value <= MAX_SIDE and value == math.floor(value),
    AREA: lambda value: value is None or is_number(value),
    SHAPE: lambda value: not value or isinstance(value, Mapping) or are_polygons(value),
}


NEEDED = "convert_masks needs instances (polygons or run-length masks), with images and categories"


def read_json(path: Path) -> Mapping:
    """Return the content of a JSON file that is a dictionary."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}.") from error
    if not isinstance(content, Mapping):
        if isinstance(content, list) and any(isinstance(each, Mapping) and "image_id" in each for each in content):
            raise ValueError(f"{path} is a list of results of COCO; {NEEDED}.")
        raise ValueError(f"{path} must contain a dictionary, got {type(content).__name__}.")
    return content


def entries_of(content: Mapping, key: str, kinds: Mapping[str, str], path: Path) -> list[Mapping]:
    """Return a list of a file's content, whose entries must be dictionaries with fields of these kinds."""
    entries = content.get(key)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: {key} must be a list, got {short(entries)}. Export the file again.")
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise ValueError(f"{path}: {key}[{index}] must be a dictionary, got {short(entry)}. Correct or remove it.")
        for name, kind in kinds.items():
            check_field(entry, name, kind, f"{path}: {key}[{index}]" + f" (id {entry.get('id')})" * ("id" in entry))
    return entries


def check_field(entry: Mapping, name: str, kind: str, where: str) -> None:
    """Raise a ValueError if a field of an entry is absent or of another kind."""
    if not KINDS[kind](value := entry.get(name)):
        got = short(value) if name in entry else "nothing"
        raise ValueError(f"{where}: {name} must be {kind}, got {got}. Correct it, or remove the entry.")


def by_id(entries: Sequence[Mapping], key: str, path: Path) -> dict[object, Mapping]:
    """Return the entries of a file by their ids, which must be different."""
    found: dict[object, Mapping] = {}
    for entry in entries:
        if found.setdefault(entry["id"], entry) is not entry:
            raise ValueError(f"{path}: {key} must have different ids, got {entry['id']} twice. Correct one of them.")
    return found


def short(value: object) -> str:
    """Return a value of a JSON file as text, shortened."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
