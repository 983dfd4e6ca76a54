"""Strings of users and of foreign files as data: class names, keys and file names."""

import logging
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
