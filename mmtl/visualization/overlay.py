"""A segmented image with a legend beside it."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont, ImageOps

MIN_SIDE = 320  # pixels; smaller images are enlarged, or they would show nothing
MIN_LINES = 8  # lines of the legend that fit beside the flattest image


def draw_overlay(
    image: np.ndarray, mask: np.ndarray, names: Sequence[str], palette: np.ndarray, opacity: float = 0.5
) -> Image.Image:
    """Lay class colors over an image and list the classes that occur at its right, the largest first.

    Args:
        image: uint8 [H, W, 3], RGB; keeps its size, or is enlarged by an integer if it is small.
        mask: class indices [H, W].
        names: K class names.
        palette: uint8 [K, 3], RGB.
        opacity: share of the colors in the result, 0 to 1.
    """
    overlay = Image.fromarray(cv2.addWeighted(image, 1 - opacity, palette[mask], opacity, 0))
    overlay = ImageOps.scale(overlay, max(1, math.ceil(MIN_SIDE / max(mask.shape))), Image.Resampling.NEAREST)
    font_size = int(np.clip(overlay.height / 32, 13, 60))
    legend = draw_legend(mask, names, palette, font_size, overlay.height)
    canvas = Image.new("RGB", (overlay.width + legend.width, legend.height), "white")
    canvas.paste(overlay, (0, 0))
    canvas.paste(legend, (overlay.width, 0))
    return canvas


def draw_legend(
    mask: np.ndarray, names: Sequence[str], palette: np.ndarray, font_size: int, min_height: int
) -> Image.Image:
    """List color, name and share of the classes in a mask, as many as fit."""
    classes, pixels = np.unique(mask, return_counts=True)
    order = np.argsort(-pixels, kind="stable")
    classes, shares = classes[order].tolist(), pixels[order] / mask.size
    line = round(1.5 * font_size)
    height = max(min_height, MIN_LINES * line)
    room = height // line
    shown = len(classes) if len(classes) <= room else room - 1
    lines = [
        (f"{names[k]:.32}  {percent(p)}", tuple(palette[k].tolist()))
        for k, p in zip(classes[:shown], shares, strict=False)
    ]
    if shown < len(classes):
        lines.append((f"and {len(classes) - shown} more  {percent(shares[shown:].sum())}", None))
    font = ImageFont.truetype(findfont("DejaVu Sans"), font_size)  # matplotlib's own: always installed, not only Latin
    legend = Image.new("RGB", (round(max(font.getlength(text) for text, _ in lines)) + 3 * font_size, height), "white")
    draw = ImageDraw.Draw(legend)
    for row, (text, color) in enumerate(lines):
        left, top = font_size // 2, row * line + line // 4
        if color:
            draw.rectangle((left, top, left + font_size, top + font_size), fill=color, outline=(120, 120, 120))
        draw.text((2 * font_size, row * line + line / 2), text, font=font, fill="black", anchor="lm")
    return legend


def percent(share: float) -> str:
    """Format a share so that it is not zero unless nothing is there."""
    return f"{share:.1%}" if share >= 0.0005 else "< 0.1%"
