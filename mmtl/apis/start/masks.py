"""What the masks of a folder contain, and which of them training can read as they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

IGNORED = 255
CLASSES_FILE = "classes.json"  # {"classes": [...], "palette": [[r, g, b], ...]}, beside masks
MAX_MASKS = 500  # masks that are read
MAX_GRAYS = 16  # gray levels that a person distinguishes
MAX_INDEX = 150  # of ADE20K, the most classes of usual masks
MAX_COLORS = 64  # more are a photograph, or a mask with smoothed borders


@dataclass
class FoundMasks:
    """Values of the masks of a folder."""

    kind: str  # "index", "binary" (0 and 255), "gray" (a gray level for each class) or "color"
    values: list[int] | list[tuple[int, int, int]]  # in ascending order
    palette: list[list[int]] | None = None  # RGB of the values, if the files have one

    @property
    def num_classes(self) -> int:
        """Number of classes of index masks: 0 to the largest value besides 255."""
        return max((value for value in self.values if value != IGNORED), default=0) + 1

    @property
    def reason(self) -> str:
        """Why masks have to be converted."""
        if self.kind == "color":
            return f"the masks are RGB images of {len(self.values)} colors"
        return f"the masks have the values {', '.join(map(str, self.values))}, which are not class indices"

    @property
    def no_label(self) -> str:
        """How to set pixels without a label apart, as options of a command; empty for masks of 0 and 255."""
        return {"color": "--ignore '#000000'", "gray": "--ignore 0"}.get(self.kind, "")


def find_masks(paths: Sequence[Path], limit: int | None = MAX_MASKS) -> FoundMasks:
    """Look through masks, at most ``limit`` of them, spread evenly.

    Raises:
        ValueError: Some are gray and some in color, or there are too many colors for a mask.
        OSError: A mask cannot be read.
    """
    grays: set[int] = set()
    colors: set[tuple[int, int, int]] = set()
    palette = None
    for path in paths[:: -(-len(paths) // (limit or len(paths)))]:
        pixels, palette = read_mask(path)
        if pixels.ndim == 2:
            grays.update(np.unique(pixels).tolist())
            continue
        codes = np.unique(pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1)).tolist()
        colors.update((code >> 16, code >> 8 & 255, code & 255) for code in codes)
        if len(colors) > MAX_COLORS:
            raise ValueError(f"{path}: masks must have at most {MAX_COLORS} colors, got {len(colors)}. {ADVICE}")
    if all(len(set(color)) == 1 for color in colors):  # gray images that were saved as RGB
        grays, colors = grays | {color[0] for color in colors}, set()
    if grays and colors:
        raise ValueError(f"{paths[0].parent}: some masks are gray or have a palette, others have colors. {ADVICE}")
    found = sorted(grays or colors)
    return FoundMasks(kind_of(found, is_color=bool(colors), has_palette=palette is not None), found, palette)


ADVICE = "Save all of them as PNG (not JPEG) with one value or color for each class."


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


def read_mask(path: Path) -> tuple[np.ndarray, list[list[int]] | None]:
    """Return a mask's values, [H, W] or RGB [H, W, 3], and the palette of its file, whose indices are the values."""
    with Image.open(path) as image:
        if image.mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
            return np.array(image.convert("RGB")), None
        colors = image.getpalette() if image.mode == "P" else None
        pixels = np.array(image.convert("L") if image.mode in ("1", "LA") else image)
        return pixels, colors and np.reshape(colors[: len(colors) // 3 * 3], (-1, 3)).tolist()
