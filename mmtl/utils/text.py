"""Strings of users and of foreign files as data, such as class names and keys, and numbers in words."""

import csv
import difflib
import logging
from collections.abc import Iterable, Sequence
from types import ModuleType


def printable(text: object) -> str:
    """Return a text without control characters, which could change what a terminal shows; lines stay lines."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in str(text))


def in_line(text: object) -> str:
    """Return a text for a place in a line, such as a name in a log: also without line breaks and tabs."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))


def escape_log_messages(logger: ModuleType) -> None:
    """Let MMEngine's loggers print names as data; the argument is ``mmengine.logging.logger``."""
    format_record = logger.MMFormatter.format

    def format_printable(formatter: logging.Formatter, record: logging.LogRecord) -> str:
        record.msg, record.args = printable(record.getMessage()), ()
        return format_record(formatter, record)

    logger.MMFormatter.format = format_printable


def csv_cell(text: object) -> str:
    """Return a text for a cell of a table, which no spreadsheet program takes for a formula."""
    cell = in_line(text)
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell


def split_names(text: str) -> list[str]:
    """Return the names in a text of CSV: with commas or lines between them, and quotes around names with commas."""
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    return [name.strip() for row in rows for name in row if name.strip()]


def quote_name(name: str) -> str:
    """Return a name as `split_names` reads it in a list."""
    return '"{}"'.format(name.replace('"', '""')) if set(name) & set(',"') else name


def join_names(names: Iterable[str]) -> str:
    """Return names as a list that `split_names` reads."""
    return in_line(", ".join(map(quote_name, names)))


def shorten(names: Iterable[object], limit: int = 6) -> str:
    """Return names as a list in words: the first ``limit`` of them and the number of the others."""
    names = list(map(in_line, names))
    return ", ".join(names[:limit]) + f" and {len(names) - limit} more" * (len(names) > limit)


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the question for a name that is close to a known one, empty if none is."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"Did you mean {close[0]}?" if close else ""


def cut(text: object, length: int) -> str:
    """Return a text of at most ``length`` characters; one that is longer ends with an ellipsis."""
    text = str(text)
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def runs_of(numbers: Sequence[int], shown: int = 5) -> str:
    """Return ascending numbers in words, such as "3, 11 to 36"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs[:shown]]
    rest = sum(map(len, runs[shown:]))
    return ", ".join(texts) + f" and {rest} more" * bool(rest)


def percent(share: float) -> str:
    """Format a share so that it is not zero unless nothing is there."""
    return f"{share:.1%}" if share >= 0.0005 or not share else "< 0.1%"
