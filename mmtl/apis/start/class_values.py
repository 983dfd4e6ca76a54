"""Values of masks as users write them: ``VALUE=NAME`` in ``--classes``, and ``--ignore``."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from mmtl.apis.start.masks import FoundMasks
from mmtl.apis.start.read_masks import Value, text_of
from mmtl.utils.text import join_names

VALUE = re.compile(r"#[0-9a-fA-F]{6}|\d+")
PAIR = re.compile(r"(#[0-9a-fA-F]{6}|\d{1,3})\s*=\s*(.+)")
LIKE_PAIR = re.compile(r"\W*((#|0x)[0-9a-f]{3,6}|[0-9a-f]{6}|\d{1,3}([\s,;/]+\d{1,3})*)\W*[=:].*", re.IGNORECASE)
RGB = re.compile(r"(\d{1,3})[\s,;/]+(\d{1,3})[\s,;/]+(\d{1,3})\W*[=:]\s*([^,=:]+)")
HEX = re.compile(r"(?:#|0x)?([0-9a-f]{6})\s*[=:]\s*([^,=:]+)", re.IGNORECASE)


def names_of_indices(names: Sequence[str]) -> list[str]:
    """Return the names of class indices, which may be given as "0=road,1=car"."""
    pairs: Mapping[Value, str] = parse_pairs(names)
    check_different(pairs.values() or names)
    if not pairs:
        return list(names)
    if set(pairs) != set(range(len(pairs))):
        given = ", ".join(map(text_of, pairs))
        raise ValueError(
            f"--classes must name the values 0, 1, ... of masks of class indices, got {given}. Add --convert to "
            "change other values to indices."
        )
    return [pairs[index] for index in range(len(pairs))]


def parse_pairs(names: Sequence[str]) -> dict[Value, str]:
    """Return the class names of values that are given as "#804080=road" or "255=road"; empty for plain names."""
    found = [PAIR.fullmatch(name) for name in names]
    wrong = [name for name, match in zip(names, found, strict=True) if not match]
    if unlike := [name for name in wrong if "=" in name or LIKE_PAIR.fullmatch(name)]:
        raise ValueError(
            "--classes must have VALUE=NAME with a gray level such as 255 or a hex color such as #4682b4, got "
            f"{unlike[0]!r}. {advice_on(names, unlike[0])}"
        )
    if not any(found):
        return {}
    if wrong:
        raise ValueError(
            f"--classes must have VALUE=NAME everywhere or nowhere, got {wrong[0]!r} without a value. "
            + advice_on(names, wrong[0])
        )
    if unnamed := [match[0] for match in found if match[2] == "NAME"]:
        raise ValueError(f"--classes must have names of your classes, got {unnamed[0]}. Replace NAME.")
    texts = defaultdict(list)
    for match in found:
        texts[as_gray(value_of(match[1]))].append(match[0])
    if twice := next((each for each in texts.values() if len(each) > 1), None):
        raise ValueError(f"--classes must name each value once, got {' and '.join(twice)}. Omit all but one of them.")
    return {value_of(match[1]): match[2] for match in found}


def advice_on(names: Sequence[str], wrong: str) -> str:
    """Return how to write the first of the names that is not in VALUE=NAME form."""
    match = RGB.search(",".join(names))  # the numbers of a color may have been separated by commas
    if match and max(color := tuple(map(int, match.groups()[:3]))) <= 255:
        return f"Write {text_of(color)}={match[4]}."
    if match := HEX.fullmatch(wrong):
        return f"Write #{match[1].lower()}={match[2]}."
    return "Write #4682b4=NAME for the color 70 130 180, or 70=NAME for a gray level."


def check_different(names: Iterable[str]) -> None:
    """Raise a ValueError if two names of ``--classes`` are the same."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"--classes must have different names, got {join_names(twice)} more than once. Correct them.")


def parse_value(text: str | None, found: FoundMasks) -> Value | None:
    """Return the value of ``--ignore``, if it is given; of masks without colors as a gray level."""
    if text is None:
        return None
    if not VALUE.fullmatch(text):
        raise ValueError(
            f"--ignore must be a gray level such as 255 or a color such as #ff0000, got {text}. The masks have "
            f"{found.listed}."
        )
    return value_of(text) if found.kind == "color" else as_gray(value_of(text))


def value_of(text: str) -> Value:
    """Return a gray level or a color as masks have it: 255, or (255, 0, 0) for "#ff0000"."""
    return tuple(bytes.fromhex(text[1:])) if text.startswith("#") else int(text)


def as_gray(value: Value) -> Value:
    """Return the gray level of a gray color; other values as they are."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
