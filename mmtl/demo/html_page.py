"""A report as one HTML file that needs nothing beside it."""

from dataclasses import dataclass
from html import escape

import numpy as np

from mmtl.visualization.label_images import data_uri

STYLE = """
:root { color-scheme: light; --ink: #1d2129; --soft: #5c6470; --line: #dfe3e8; --tint: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 72px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 48px 0 8px; padding-top: 20px; border-top: 1px solid var(--line); }
p { max-width: 76ch; margin: 8px 0 16px; } p.lead { color: var(--soft); font-size: 17px; }
table { border-collapse: collapse; margin: 16px 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 28px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--soft); font-size: 14px; } td.number, th.number { text-align: right; }
code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; background: var(--tint);
  padding: 2px 5px; border-radius: 4px; overflow-wrap: anywhere; }
.row { display: grid; gap: 20px 18px; margin: 16px 0; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: 13px; line-height: 1.4; margin-top: 6px; }
img { display: block; width: 100%; image-rendering: pixelated; border-radius: 3px; }
.chart { font-size: 14px; } .chart svg { display: block; width: 100%; margin-top: 6px; }
.chart text { font-size: 11px; fill: var(--soft); } .end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke: var(--line); } polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; color: var(--soft); }
.legend span::before { content: ""; display: inline-block; width: 11px; height: 11px; border-radius: 2px;
  margin-right: 6px; background: var(--key); }
"""


@dataclass(frozen=True)
class Figure:
    """A picture uint8 [H, W, 3] RGB with its caption."""

    image: np.ndarray
    caption: str


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text; `kind` 'lead' makes it an introduction."""
    return f'<p class="{kind}">{escape(text)}</p>'


def figure_row(figures: list[Figure], columns: int) -> str:
    """Pictures in a grid of so many columns."""
    cells = "".join(
        f'<figure><img src="{data_uri(each.image)}" alt="{escape(each.caption)}">'
        f"<figcaption>{escape(each.caption)}</figcaption></figure>"
        for each in figures
    )
    return grid(cells, columns)


def grid(content: str, columns: int) -> str:
    """Any elements in a grid of so many columns."""
    return f'<div class="row" style="grid-template-columns: repeat({columns}, 1fr)">{content}</div>'


def legend(names: list[str], palette: np.ndarray) -> str:
    """The classes with their colours, RGB [K, 3]."""
    keys = "".join(
        f'<span style="--key:rgb({red},{green},{blue})">{escape(name)}</span>'
        for name, (red, green, blue) in zip(names, palette, strict=True)
    )
    return f'<div class="legend">{keys}</div>'


def table(head: list[str], rows: list[list[str | float]], code_column: int | None = None) -> str:
    """A table; numbers stand at the right with two decimals, cells of `code_column` are set as code."""

    def cell(tag: str, value: str | float, column: int) -> str:
        is_number = isinstance(rows[0][column], int | float)
        text = f"{value:.2f}" if isinstance(value, float) else escape(str(value))
        text = f"<code>{text}</code>" if column == code_column and tag == "td" else text
        return f"<{tag}{' class=number' if is_number else ''}>{text}</{tag}>"

    lines = [("th", head), *(("td", row) for row in rows)]
    body = "".join("<tr>" + "".join(cell(tag, each, i) for i, each in enumerate(row)) + "</tr>" for tag, row in lines)
    return f"<table>{body}</table>"


def section(title: str, *content: str) -> str:
    """A section with its heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(content)}</section>"


def page(title: str, *content: str) -> str:
    """The whole document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{''.join(content)}</main></body></html>\n"
    )
