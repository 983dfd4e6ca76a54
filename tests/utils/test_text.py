import pytest

from mmtl.utils.text import csv_cell, printable


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "a", "", "ü", "1"])
def test_no_cell_is_a_formula(text):
    """Guards: spreadsheet programs evaluate class names and paths that look like formulas."""
    assert not csv_cell(text).startswith(("=", "+", "-", "@")) and csv_cell(text).endswith(text)


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\x00", "\u202egnp", "caf\udce9", "a\x9bb"])
def test_no_control_character_is_printed(text):
    shown = printable(text)
    assert shown.isprintable() and shown.encode() and printable("a\nb ü 日") == "a\nb ü 日"
