"""A segmented image with a legend beside it."""

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

SMALLEST = 320  # pixels; smaller images are enlarged, or nothing could be told on them
LEAST_LINES = 8  # lines of the legend that have room beside the flattest image


def draw_overlay(
    image: np.ndarray, mask: np.ndarray, names: Sequence[str], palette: np.ndarray, opacity: float = 0.5
) -> np.ndarray:
    """Lay the classes' colours over an image, with the classes that occur beside it, the largest first.

    Args:
        image: uint8 [H, W, 3], RGB.
        mask: class indices [H, W].
        names: K class names.
        palette: uint8 [K, 3], RGB.
        opacity: share of the colours in the result.

    Returns:
        np.ndarray: uint8 RGB, the image at its own size (or a multiple, if it is small) with the legend at its right.
    """
    picture = cv2.addWeighted(image, 1 - opacity, palette[mask], opacity, 0)
    factor = math.ceil(SMALLEST / max(mask.shape))
    if factor > 1:
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    font_size = int(np.clip(picture.shape[0] / 32, 13, 60))
    legend = draw_legend(mask, names, palette, font_size, picture.shape[0])
    canvas = np.full((legend.shape[0], picture.shape[1] + legend.shape[1], 3), 255, np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    canvas[:, picture.shape[1] :] = legend
    return canvas


def draw_legend(
    mask: np.ndarray, names: Sequence[str], palette: np.ndarray, font_size: int, least_height: int
) -> np.ndarray:
    """Colour, name and share of the classes in a mask, as many as there is room for; uint8 [H, W, 3], RGB."""
    classes, pixels = np.unique(mask, return_counts=True)
    line = round(1.5 * font_size)
    height = max(least_height, LEAST_LINES * line)
    order = np.argsort(-pixels, kind="stable")
    room = height // line
    shown = order if len(order) <= room else order[: room - 1]
    texts = [f"{names[classes[i]][:32]}  {percent(pixels[i] / mask.size)}" for i in shown]
    if len(order) > len(shown):
        rest = 1 - pixels[shown].sum() / mask.size
        texts.append(f"and {len(order) - len(shown)} more  {percent(rest)}")
    font = legend_font(font_size)
    width = round(max(font.getlength(text) for text in texts)) + 3 * font_size
    legend = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(legend)
    for row, text in enumerate(texts):
        top = row * line + line // 4
        if row < len(shown):
            box = (font_size // 2, top, font_size // 2 + font_size, top + font_size)
            draw.rectangle(box, fill=tuple(palette[classes[shown[row]]].tolist()), outline=(120, 120, 120))
        draw.text((2 * font_size, row * line + line / 2), text, font=font, fill="black", anchor="lm")
    return np.asarray(legend)


def percent(share: float) -> str:
    """A share above zero that is not shown as zero."""
    return f"{share:.1%}" if share >= 0.0005 else "< 0.1%"


@lru_cache
def legend_font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own font: it is always there, and knows more than Latin letters."""
    return ImageFont.truetype(findfont("DejaVu Sans"), size)
