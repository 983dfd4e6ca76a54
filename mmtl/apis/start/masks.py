"""What the masks of a folder contain, and which of them training can read as they are."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmtl.apis.start.read_masks import (
    GRAY,
    IGNORED,
    MAX_GRAYS,
    MIDDLE,
    Palettes,
    Tally,
    Value,
    code_of,
    is_lossy,
    read_mask,
    rgb_of,
    text_of,
)
from mmtl.utils.read_image import image_size, size_difference
from mmtl.utils.text import percent, runs_of, shorten

MAX_MASKS = 500  # masks that are read
MAX_INDEX = 150  # of ADE20K, the most classes of usual masks
MAX_ROWS = 20  # values that are printed
MIN_GAP = 16  # between values of a lossy format; smaller ones can be noise
MAX_COLORS = 64  # more are a photograph, or a mask with smoothed borders
ADVICE = "Save all of them as PNG (not JPEG) with one value or color for each class."


@dataclass
class FoundMasks:
    """Values of the masks of a folder."""

    kind: str  # "index", "binary" (0 and 255), "gray" (a gray level for each class) or "color"
    values: list[Value]  # in ascending order
    palette: list[list[int]] | None = None  # RGB of the values, if the files have one
    pixels: dict[Value, int] = field(default_factory=dict)  # number of pixels of each value
    first_in: dict[Value, Path] = field(default_factory=dict)  # a file of each value
    files: dict[Value, int] = field(default_factory=dict)  # number of files of each value
    num_files: int = 0  # that were read
    is_sample: bool = False  # whether there are more files
    lossy: Path | None = None  # a mask that is a JPEG image or the like
    smoothed: int = 0  # number of gray levels that count as the nearer one of 0 and 255

    @property
    def num_classes(self) -> int:
        """Number of classes of index masks: 0 to the largest value besides 255."""
        return max((value for value in self.values if value != IGNORED), default=0) + 1

    @property
    def reason(self) -> str:
        """Why masks have to be converted."""
        if self.kind == "color":
            return f"the masks are RGB images of {len(self.values)} colors"
        if self.smoothed:
            return f"the masks have the values 0 and 255, which are not class indices, and {self.smoothed_note}"
        return f"the masks have the values {', '.join(map(str, self.values))}, which are not class indices"

    @property
    def smoothed_note(self) -> str:
        """What becomes of gray levels between 0 and 255."""
        return (
            f"{self.smoothed} levels between them, as of smoothed borders: up to {MIDDLE} count as 0, others as 255. "
            "Export the masks without antialiasing for exact borders"
        )

    @property
    def only_in(self) -> dict[Value, Path]:
        """File of each value that one of several files has."""
        return {value: self.first_in[value] for value, count in self.files.items() if count == 1 < self.num_files - 1}

    @property
    def listed(self) -> str:
        """All values as a user writes them."""
        return ", ".join(map(text_of, self.values))

    @property
    def no_label(self) -> str:
        """How to set pixels without a label apart, as options of a command; empty for masks of 0 and 255."""
        if self.kind == "binary":
            return ""
        black = (0, 0, 0) if self.kind == "color" else 0
        return f"--ignore {shlex.quote(text_of(black if black in self.values else self.values[0]))}"

    def share(self, value: Value) -> str:
        """Return the share of a value in all pixels, as text."""
        return percent(self.pixels.get(value, 0) / max(sum(self.pixels.values()), 1))

    def table(self) -> str:
        """Return the values with their shares, as indented lines."""
        rows = [f"{text_of(value)}  {self.share(value)}" for value in self.values[:MAX_ROWS]]
        rows = [row + self.file_note(value) for row, value in zip(rows, self.values, strict=False)]
        more = [f"and {len(self.values) - MAX_ROWS} more"] * (len(self.values) > MAX_ROWS)
        return "\n  ".join(["", *rows, *more])

    def file_note(self, value: Value) -> str:
        """Return which file has a value that no other has; empty for others."""
        return f"  only in {self.only_in[value]}" if value in self.only_in else ""

    def place_of(self, value: Value) -> str:
        """Return a file of a value, and the number of others."""
        others = self.files[value] - 1
        return f"{self.first_in[value]}" + f" and {others} other file{'s' * (others > 1)}" * bool(others)

    def warnings(self, num_classes: int = 0, values: Mapping[str, str] | None = None) -> list[str]:
        """Return lines about absent values, values of one file only, and a lossy format.

        Args:
            num_classes: number of names of class indices, which may be more than the masks have.
            values: value -> class that it becomes, of masks to convert.
        """
        lines, count = [], max(self.num_classes, num_classes) if self.kind == "index" else 0
        if absent := sorted(set(range(count)) - set(self.values)):
            nowhere = f"in none of the {self.num_files} masks that were read" if self.is_sample else "nowhere"
            text = f"WARNING: of the values 0 to {count - 1} of classes, {runs_of(absent)} occur {nowhere}"
            lines.append(f"{text}. Correct masks or names if this is a mistake")
        texts = [text_of(value) for value in self.values]
        if absent := [f"{text} ({name})" for text, name in (values or {}).items() if text not in texts]:
            lines.append(f"WARNING: values of classes that occur nowhere: {shorten(absent)}. Correct them if wrong")
        classes = values or {text for text in texts if text != str(IGNORED)}
        if rare := [f"{text_of(value)} ({path})" for value, path in self.only_in.items() if text_of(value) in classes]:
            lines.append(
                f"WARNING: values in one file only: {shorten(rare, 5)}. Correct the masks if this is a mistake"
            )
        if self.smoothed:
            lines.append(f"WARNING: masks of 0 and 255 have {self.smoothed_note}")
        if count > 192 and not self.palette and len(self.values) > MAX_GRAYS:
            lines.append(
                f"WARNING: {len(self.values)} gray levels up to {count - 1} are taken for class indices. If they are "
                "of smoothed borders, export the masks without antialiasing"
            )
        if self.lossy:
            lines.append(f"WARNING: {self.lossy} has a lossy format; its values are clean, but save masks as PNG")
        return lines


def find_masks(paths: Sequence[Path], limit: int | None = MAX_MASKS) -> FoundMasks:
    """Look through masks, at most ``limit`` of them, spread evenly.

    Raises:
        ValueError: Some are gray and some in color, there are too many colors for a mask, or a lossy format has
            changed the values, or a file is corrupt.
        OSError: A mask cannot be read.
    """
    total, paths = len(paths), paths[:: -(-len(paths) // (limit or len(paths)))]
    grays, colors, palettes, lossy = count_values(paths)
    if all(code % GRAY == 0 for code in colors.pixels):  # gray images that were saved as RGB
        grays.merge(colors)
        colors = Tally()
    if grays.pixels and colors.pixels:
        raise ValueError(f"{paths[0].parent}: some masks are gray or have a palette, others have colors. {ADVICE}")
    tally, is_color = (colors, True) if colors.pixels else (grays, False)
    smoothed = [] if is_color or lossy or palettes.longest else tally.smoothed()
    if smoothed:
        tally.threshold()
    value_of = {code: rgb_of(code) if is_color else code for code in sorted(tally.pixels)}
    found = FoundMasks(
        kind=kind_of(list(value_of.values()), is_color=is_color, has_palette=bool(palettes.longest)),
        values=list(value_of.values()),
        palette=palettes.longest or None,
        pixels={value: tally.pixels[code] for code, value in value_of.items()},
        first_in={value: tally.first[code] for code, value in value_of.items()},
        files={value: tally.files[code] for code, value in value_of.items()},
        num_files=len(paths),
        is_sample=len(paths) < total,
        lossy=lossy,
        smoothed=len(smoothed),
    )
    if len(found.values) == 1:
        got = f"got only {found.listed} in {found.num_files} masks"
        raise ValueError(
            f"{paths[0].parent}: masks must have at least two values, {got}. Check how they were exported."
        )
    if lossy:
        check_lossy(found)
    return found


def count_values(paths: Sequence[Path]) -> tuple[Tally, Tally, Palettes, Path | None]:
    """Return the gray levels or indices, the colors and the palettes of masks, and the first in a lossy format."""
    grays, colors, palettes, lossy = Tally(), Tally(), Palettes(), None
    for path in paths:
        pixels, palette = read_mask(path)
        lossy = lossy or (path if is_lossy(path) else None)
        if pixels.ndim == 2:
            palettes.add(palette or [], grays.add(pixels, path), path)
            continue
        colors.add(code_of(pixels), path)
        if len(colors.pixels) > MAX_COLORS and any(code % GRAY for code in colors.pixels):
            text = f"masks must have at most {MAX_COLORS} colors, got {len(colors.pixels)}"
            raise ValueError(f"{path}: {text}. {ADVICE} If the folders are swapped, exchange their names.")
    return grays, colors, palettes, lossy


def check_lossy(masks: FoundMasks) -> None:
    """Raise a ValueError unless the values of masks in a lossy format are so few and far apart that they are clean."""
    values = np.array(masks.values).reshape(len(masks.values), -1)
    gaps = np.abs(values[:, None] - values).max(-1) + 256 * np.eye(len(values), dtype=int)
    if masks.kind == "index" or gaps.min() < MIN_GAP:
        some = ", ".join(map(text_of, masks.values[:8])) + " and more" * (len(masks.values) > 8)
        raise ValueError(
            f"{masks.lossy}: masks must not have a lossy format such as JPEG, which changes values, got "
            f"{len(masks.values)} values: {some}. {ADVICE}"
        )


def kind_of(values: Sequence[int], is_color: bool, has_palette: bool) -> str:
    """Return the kind of masks with these values."""
    if is_color:
        return "color"
    if set(values) <= {0, IGNORED}:
        return "binary"
    known = [value for value in values if value != IGNORED]
    if has_palette or len(known) > MAX_GRAYS or known[-1] < max(2 * len(known), 8):
        return "index"
    # Many classes can be absent from a small folder. Gray levels are far apart, and often multiples of a number.
    return "gray" if known[-1] > MAX_INDEX or math.gcd(*known) > 1 else "index"


def check_sizes(root: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Raise a ValueError if a mask has another size than its image; files that cannot be read are left to others."""
    problems = []
    for image, mask in pairs:
        sizes = image_size(root / image), image_size(root / mask)
        if all(sizes) and (problem := size_difference(sizes[1][::-1], sizes[0][::-1], str(root / image))):
            problems.append(f"{root / mask}: {problem}")
    if problems:
        more = f" {len(problems) - 1} other masks have the same fault." * (len(problems) > 1)
        raise ValueError(f"{problems[0]}. Correct the mask, or remove it.{more}")
