"""The parts of a report in one self-contained HTML file."""

import base64
import io
from html import escape

from matplotlib.figure import Figure

STYLE = """
body { max-width: 1120px; margin: 0 auto; padding: 40px 24px 72px; background: #fff; color: #1d2129;
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 20px; margin: 48px 0 8px; padding-top: 20px; border-top: 1px solid #dfe3e8; }
p { max-width: 76ch; margin: 8px 0 16px; }
table { border-collapse: collapse; margin: 16px 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 28px 7px 0; border-bottom: 1px solid #dfe3e8; vertical-align: top; }
.number { text-align: right; }
code { font: 13px/1.5 ui-monospace, Menlo, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
img { display: block; width: 100%; }
"""


def paragraph(text: str) -> str:
    """Return a paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def embed(figure: Figure, description: str) -> str:
    """Return a matplotlib figure as a PNG image inside the page."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=160)
    data = base64.b64encode(png.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(description)}">'


def table(header: list[str], rows: list[list[str | float]], code: bool = False) -> str:
    """Return a table: numbers aligned right, floats with two decimals, the first column set as code if ``code``."""

    def cell(tag: str, value: str | float, column: int) -> str:
        text = f"{value:.2f}" if isinstance(value, float) else escape(str(value))
        text = f"<code>{text}</code>" if code and column == 0 and tag == "td" else text
        return f"<{tag}{' class=number' if isinstance(rows[0][column], int | float) else ''}>{text}</{tag}>"

    lines = [("th", header), *(("td", row) for row in rows)]
    body = "".join("<tr>" + "".join(cell(tag, each, i) for i, each in enumerate(row)) + "</tr>" for tag, row in lines)
    return f"<table>{body}</table>"


def section(title: str, *content: str) -> str:
    """Return a section with its heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(content)}</section>"


def page(title: str, *content: str) -> str:
    """Return the complete document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{''.join(content)}</body></html>\n"
    )
