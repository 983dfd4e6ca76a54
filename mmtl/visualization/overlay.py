"""A segmented image with a legend beside it."""

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

MIN_SIDE = 320  # pixels; smaller images are enlarged, or they would show nothing
MIN_LINES = 8  # lines of the legend that fit beside the flattest image


def draw_overlay(
    image: np.ndarray, mask: np.ndarray, names: Sequence[str], palette: np.ndarray, opacity: float = 0.5
) -> np.ndarray:
    """Lay class colors over an image and list the classes that occur beside it, the largest first.

    Args:
        image: uint8 [H, W, 3], RGB.
        mask: class indices [H, W].
        names: K class names.
        palette: uint8 [K, 3], RGB.
        opacity: share of the colors in the result, 0 to 1.

    Returns:
        np.ndarray: uint8 RGB, the image at its own size (or a multiple, if it is small) with the legend at its right.
    """
    overlay = cv2.addWeighted(image, 1 - opacity, palette[mask], opacity, 0)
    factor = math.ceil(MIN_SIDE / max(mask.shape))
    if factor > 1:
        overlay = cv2.resize(overlay, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    height, width = overlay.shape[:2]
    font_size = int(np.clip(height / 32, 13, 60))
    legend = draw_legend(mask, names, palette, font_size, height)
    canvas = np.full((legend.shape[0], width + legend.shape[1], 3), 255, np.uint8)
    canvas[:height, :width] = overlay
    canvas[:, width:] = legend
    return canvas


def draw_legend(
    mask: np.ndarray, names: Sequence[str], palette: np.ndarray, font_size: int, min_height: int
) -> np.ndarray:
    """List color, name and share of the classes in a mask, as many as fit; uint8 [H, W, 3], RGB."""
    classes, pixels = np.unique(mask, return_counts=True)
    line = round(1.5 * font_size)
    height = max(min_height, MIN_LINES * line)
    order, room = np.argsort(-pixels, kind="stable"), height // line
    shown = order if len(order) <= room else order[: room - 1]
    texts = [f"{names[classes[i]][:32]}  {percent(pixels[i] / mask.size)}" for i in shown]
    if len(order) > len(shown):
        texts.append(f"and {len(order) - len(shown)} more  {percent(1 - pixels[shown].sum() / mask.size)}")
    font = legend_font(font_size)
    width = round(max(font.getlength(text) for text in texts)) + 3 * font_size
    legend = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(legend)
    for row, label in enumerate(classes[shown]):
        left, top = font_size // 2, row * line + line // 4
        color = tuple(palette[label].tolist())
        draw.rectangle((left, top, left + font_size, top + font_size), fill=color, outline=(120, 120, 120))
    for row, text in enumerate(texts):
        draw.text((2 * font_size, row * line + line / 2), text, font=font, fill="black", anchor="lm")
    return np.asarray(legend)


def percent(share: float) -> str:
    """Format a share so that it is not zero unless nothing is there."""
    return f"{share:.1%}" if share >= 0.0005 else "< 0.1%"


@lru_cache
def legend_font(size: int) -> ImageFont.FreeTypeFont:
    """Return matplotlib's own font, which is always installed and covers more than Latin letters."""
    return ImageFont.truetype(findfont("DejaVu Sans"), size)
