"""Strings of users and of foreign files as data: class names, keys and file names."""


def printable(text: object) -> str:
    """Return a text without control characters, which could change what a terminal shows; lines stay lines."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in str(text))


def csv_cell(text: object) -> str:
    """Return a text for a cell of a table, which no spreadsheet program takes for a formula."""
    cell = printable(text)
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell
