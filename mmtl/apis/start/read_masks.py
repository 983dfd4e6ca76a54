"""Read masks and count their values."""

import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmtl.utils.read_image import is_truncated
from mmtl.utils.text import in_line

IGNORED = 255
MIDDLE = 127  # gray levels up to it count as 0 in smoothed masks of 0 and 255
MAX_GRAYS = 16  # gray levels that a person distinguishes
MIN_SMOOTHED, MAX_SMOOTHED = 4, 0.1  # levels of smoothed borders, and their share of the pixels if they are few
GRAY = 0x010101  # times a gray level: its color as one number

Value = int | tuple[int, int, int]  # gray level or class index, or RGB color


def text_of(value: int | Sequence[int]) -> str:
    """Return a value as users write it: "255" or "#ff0000"."""
    return str(value) if isinstance(value, int) else "#{:02x}{:02x}{:02x}".format(*value)


def open_mask(path: Path) -> Image.Image:
    """Return a mask file, decoded.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is not an image, or not a complete one.
    """
    try:
        data = path.read_bytes()
        if is_truncated(data):
            raise ValueError("the file is truncated")
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image
    except Exception as error:  # decoders raise all kinds of errors on corrupt files
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({in_line(error)})"
        raise ValueError(
            f"{path} must be a complete image, got a corrupt file or another format{reason}. Replace or remove it."
        ) from None


def read_mask(path: Path) -> tuple[np.ndarray, list[list[int]] | None]:
    """Return a mask's values, [H, W] or RGB [H, W, 3], and the palette of its file, whose indices are the values.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is not a complete image, or has the mask in its alpha channel.
    """
    image = open_mask(path)
    if image.mode in ("RGBA", "LA"):
        check_alpha(image, path)
    if image.mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
        return np.array(image.convert("RGB")), None
    colors = image.getpalette() if image.mode == "P" else None
    pixels = np.array(image.convert("L") if image.mode in ("1", "LA") else image)
    return pixels, colors and np.reshape(colors[: len(colors) // 3 * 3], (-1, 3)).tolist()


def check_alpha(image: Image.Image, path: Path) -> None:
    """Raise a ValueError if only the alpha channel of a mask varies."""
    *colors, alpha = ([low, high] for low, high in image.getextrema())
    if alpha[0] < alpha[1] and all(low == high for low, high in colors):
        raise ValueError(
            f"{path}: masks must have the classes in gray levels or colors, got one color, and their alpha channel "
            "holds the mask. Save this channel as a gray PNG, with Pillow: "
            'Image.open(path).getchannel("A").save(path).'
        )


def code_of(colors: np.ndarray) -> np.ndarray:
    """Return colors [..., 3] as one number each."""
    return colors.astype(np.int64) @ (1 << 16, 1 << 8, 1)


def rgb_of(code: int) -> tuple[int, int, int]:
    """Return a color that is given as one number."""
    return code >> 16, code >> 8 & 255, code & 255


def is_lossy(path: Path) -> bool:
    """Return whether a file has a format that changes values when it is saved."""
    with path.open("rb") as file:
        start = file.read(16)
    return start.startswith(b"\xff\xd8") or (start[8:15] == b"WEBPVP8" and start[15:] != b"L")


class Tally:
    """Counts pixels and files of values, which are gray levels or colors as one number."""

    def __init__(self) -> None:
        self.pixels: Counter[int] = Counter()
        self.files: Counter[int] = Counter()
        self.first: dict[int, Path] = {}

    def add(self, codes: np.ndarray, path: Path) -> list[int]:
        """Count the values of one file, and return them."""
        values, counts = (each.tolist() for each in np.unique(codes, return_counts=True))
        self.pixels.update(dict(zip(values, counts, strict=True)))
        self.files.update(values)
        self.first = dict.fromkeys(values, path) | self.first
        return values

    def smoothed(self) -> list[int]:
        """Return the gray levels between 0 and 255 if they look like smoothed borders of masks of 0 and 255."""
        levels = sorted(set(self.pixels) - {0, IGNORED})
        if len(levels) < MIN_SMOOTHED or levels[0] >= 64 or not 192 <= levels[-1] < IGNORED or math.gcd(*levels) > 1:
            return []
        is_rare = sum(self.pixels[level] for level in levels) < MAX_SMOOTHED * self.pixels.total()
        is_between = {level for level, _ in self.pixels.most_common(2)} == {0, IGNORED}
        return levels if is_between and (is_rare or len(levels) > MAX_GRAYS) else []

    def threshold(self) -> None:
        """Count gray levels as the nearer one of 0 and 255."""
        pixels = Counter()
        for level, count in self.pixels.items():
            pixels[IGNORED * (level > MIDDLE)] += count
        self.pixels, self.files = pixels, Counter({level: self.files[level] for level in pixels})

    def merge(self, colors: "Tally") -> None:
        """Add the gray levels of colors that are gray."""
        for mine, theirs in ((self.pixels, colors.pixels), (self.files, colors.files)):
            mine.update({code // GRAY: count for code, count in theirs.items()})
        self.first = {code // GRAY: path for code, path in colors.first.items()} | self.first


class Palettes:
    """The palettes of masks, which must agree on the values that the masks have."""

    def __init__(self) -> None:
        self.longest: list[list[int]] | None = None
        self.known: dict[int, tuple[list[int], Path]] = {}  # value -> its color, and the first file that has it

    def add(self, palette: list[list[int]], values: Iterable[int], path: Path) -> None:
        """Add the palette of a file with these values."""
        self.longest = max(self.longest or [], palette, key=len)
        for value in values:
            color = palette[value] if value < len(palette) and value != IGNORED else None
            known, other = self.known.setdefault(value, (color, path)) if color else (None, path)
            if known != color:
                raise ValueError(
                    f"{path}: palettes of masks must have the same colors, got {text_of(color)} for the value "
                    f"{value}, which is {text_of(known)} in {other}. If the colors are the classes, save all as RGB "
                    'images, with Pillow: Image.open(path).convert("RGB").save(path); else save them with one palette.'
                )
