"""Line charts as inline SVG: no script, sharp at any size."""

import math
from dataclasses import dataclass
from html import escape

from mmtl.demo.run_logs import Curve

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 12, 36  # room for the axes' labels


@dataclass(frozen=True)
class Line:
    """A curve with its name and CSS colour."""

    name: str
    curve: Curve
    colour: str


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between `low` and `high`, at most `most`, at steps of 1, 2 or 5 times a power of ten."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) < most)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(lines: list[Line], x_label: str, title: str, y_range: tuple[float, float] | None = None) -> str:
    """Draw curves over training.

    Args:
        lines: what to draw; empty curves are left out.
        x_label: what the steps are.
        title: what the values are.
        y_range: lowest and highest value; None takes 0 to the highest of the curves.

    Returns:
        str: an ``<svg>`` element with a legend.
    """
    drawn = [line for line in lines if line.curve.steps]
    if not drawn:
        return f"<p>{escape(title)}: nothing was logged.</p>"
    x_high = max(line.curve.steps[-1] for line in drawn)
    y_low, y_high = y_range or (0.0, max(max(line.curve.values) for line in drawn) * 1.05)

    def place(x: float, y: float) -> tuple[float, float]:
        share_x, share_y = x / x_high, (y - y_low) / (y_high - y_low)
        return LEFT + share_x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share_y * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for value in nice_ticks(y_low, y_high):
        x, y = place(0, value)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text class="end" x="{x - 6:.1f}" y="{y + 4:.1f}">{value:g}</text>')
    for value in nice_ticks(0, x_high):
        x, y = place(value, y_low)
        parts.append(f'<text class="middle" x="{x:.1f}" y="{y + 16:.1f}">{value:g}</text>')
    parts.append(f'<text class="middle" x="{(WIDTH + LEFT) / 2:.0f}" y="{HEIGHT - 4}">{escape(x_label)}</text>')
    parts += [_polyline(line, [place(*point) for point in zip(*line.curve, strict=True)]) for line in drawn]
    keys = "".join(f'<span style="--key:{line.colour}">{escape(line.name)}</span>' for line in drawn)
    head = f'<b>{escape(title)}</b><div class="legend">{keys}</div>'
    return f'<figure class="chart">{head}{"".join(parts)}</svg></figure>'


def _polyline(line: Line, points: list[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = f'<polyline points="{path}" stroke="{line.colour}"/>'
    if len(points) <= 12:  # few measurements: show each
        drawn += "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{line.colour}"/>' for x, y in points)
    return drawn
