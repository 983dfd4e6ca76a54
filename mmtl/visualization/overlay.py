"""A segmented image, alone or beside its annotation, with a legend."""

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mmtl.utils.text import cut, percent

MIN_SIDE = 320  # pixels; smaller images are enlarged, or they would show nothing
MIN_FONT = 13  # pixels
MAX_NAME = 32  # characters of a class name in the legend
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
    counts = dict(zip(*(each.tolist() for each in np.unique(mask, return_counts=True)), strict=True))
    return join_panels([cv2.addWeighted(image, 1 - opacity, palette[mask], opacity, 0)], counts, names, palette)


def draw_comparison(
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray,
    names: Sequence[str],
    palette: np.ndarray,
    opacity: float = 0.5,
) -> Image.Image:
    """Draw an image, its annotation if there is one, and the prediction side by side, with their classes as legend.

    Args are those of `draw_overlay`. Labels of the annotation that are not a class are black, in the legend
    "unlabeled". Its shares are those of the annotation, in which a class of the prediction may not occur.
    """
    colors = np.zeros((max(256, len(palette)), 3), np.uint8)
    colors[: len(palette)] = palette
    masks = [prediction] if truth is None else [truth, prediction]
    panels = [image, *(cv2.addWeighted(image, 1 - opacity, colors[mask], opacity, 0) for mask in masks)]
    num_classes = len(palette)
    pixels = np.bincount(masks[0].ravel(), minlength=len(colors))
    predicted = set(np.unique(prediction).tolist())
    counts = {index: count for index, count in enumerate(pixels.tolist()) if count or index in predicted}
    unlabeled = sum(counts.pop(index) for index in list(counts) if index >= num_classes)
    if unlabeled:  # drawn as one
        counts[num_classes] = unlabeled
        names, palette = [*names[:num_classes], "unlabeled"], np.concatenate([palette, np.zeros((1, 3), np.uint8)])
    titles = ("image", "annotation", "prediction") if len(masks) > 1 else ("image", "prediction")
    note = "share of the annotation" if len(masks) > 1 else ""
    return join_panels(panels, counts, names, palette, titles=titles, note=note)


def join_panels(
    panels: Sequence[np.ndarray],
    counts: Mapping[int, int],
    names: Sequence[str],
    palette: np.ndarray,
    titles: Sequence[str] = (),
    note: str = "",
) -> Image.Image:
    """Join images [H, W, 3] of one size, enlarged if they are small, under titles, and a legend of pixel counts."""
    factor = max(1, math.ceil(MIN_SIDE / max(panels[0].shape[:2])))
    parts = [ImageOps.scale(Image.fromarray(panel), factor, Image.Resampling.NEAREST) for panel in panels]
    width, height = parts[0].size
    font_size = int(np.clip(height / 32, MIN_FONT, 60))
    legend = draw_legend(counts, names, palette, font_size=font_size, min_height=height)
    top = 2 * font_size * bool(titles)
    note_width = round(font_of(font_size).getlength(note)) + font_size
    size = (len(parts) * width + max(legend.width, note_width), top + legend.height)
    canvas = Image.new("RGB", size, "white")
    for index, part in enumerate(parts):
        canvas.paste(part, (index * width, top))
    for index, title in enumerate(titles):
        place = (index * width + width // 2, top // 2)
        ImageDraw.Draw(canvas).text(place, title, font=font_of(font_size), fill="black", anchor="mm")
    place = (len(parts) * width + font_size // 2, top // 2)
    ImageDraw.Draw(canvas).text(place, note, font=font_of(font_size), fill="black", anchor="lm")
    canvas.paste(legend, (len(parts) * width, top))
    return canvas


def draw_legend(
    counts: Mapping[int, int], names: Sequence[str], palette: np.ndarray, font_size: int, min_height: int
) -> Image.Image:
    """List color, name and share of classes with their pixel counts, as many as fit."""
    classes, total = sorted(counts, key=lambda label: -counts[label]), max(sum(counts.values()), 1)
    shares = np.array([counts[label] for label in classes]) / total
    line = round(1.5 * font_size)
    height = max(min_height, MIN_LINES * line)
    room = height // line
    shown = len(classes) if len(classes) <= room else room - 1
    lines = [
        (f"{cut(names[k], MAX_NAME)}  {percent(p)}", tuple(palette[k].tolist()))
        for k, p in zip(classes[:shown], shares, strict=False)
    ]
    if shown < len(classes):
        lines.append((f"and {len(classes) - shown} more  {percent(shares[shown:].sum())}", None))
    font = font_of(font_size)
    longest = max((font.getlength(text) for text, _ in lines), default=0)
    legend = Image.new("RGB", (round(longest) + 3 * font_size, height), "white")
    draw = ImageDraw.Draw(legend)
    for row, (text, color) in enumerate(lines):
        left, top = font_size // 2, row * line + line // 4
        if color:
            draw.rectangle((left, top, left + font_size, top + font_size), fill=color, outline=(120, 120, 120))
        draw.text((2 * font_size, row * line + line / 2), text, font=font, fill="black", anchor="lm")
    return legend


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """Return matplotlib's own font: it is always installed, and not only Latin."""
    return ImageFont.truetype(findfont("DejaVu Sans"), size)
