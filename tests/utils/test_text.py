import pytest
from mmengine.logging import MMLogger

import mmtl  # noqa: F401 - installs the escaping of log messages
from mmtl.utils.text import csv_cell, cut, in_line, percent, printable, runs_of, shorten


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "a", "", "ü", "1"])
def test_no_cell_is_a_formula(text):
    """Guards: spreadsheet programs evaluate class names and paths that look like formulas."""
    assert not csv_cell(text).startswith(("=", "+", "-", "@")) and csv_cell(text).endswith(text)


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\x00", "\u202egnp", "caf\udce9", "a\x9bb"])
def test_no_control_character_is_printed(text):
    for shown in (printable(text), in_line(text), csv_cell(text)):
        assert shown.isprintable() and shown.encode()
    assert printable("a\nb ü 日") == "a\nb ü 日" and in_line("a\nb\t日") == csv_cell("a\nb\t日") == "a\\nb\\t日"


def test_log_messages_of_mmengine_and_hooks_cannot_control_a_terminal(tmp_path, capfd):
    """Guards: keys of checkpoints and names of classes reached terminal and log file as they are."""
    logger = MMLogger("hostile", log_file=str(tmp_path / "log"))
    logger.warning("unexpected key %s", "a\x1b[2J\r.b")
    shown = capfd.readouterr()
    for text in (shown.out + shown.err, (tmp_path / "log").read_text()):
        assert "unexpected key a\\x1b[2J\\r.b" in text


def test_runs_of_numbers_are_collapsed():
    assert runs_of([3, *range(11, 37)]) == "3, 11 to 36"
    assert runs_of([1, 3, 5, 7, 9, 11, 12]) == "1, 3, 5, 7, 9 and 2 more"


def test_a_long_list_is_shortened_and_names_in_it_stay_in_the_line():
    assert [shorten(names, 2) for names in ([], "a", "ab", ["a\n", "b", "c", "d"])] == [
        "", "a", "a, b", "a\\n, b and 2 more"
    ]  # fmt: skip


def test_share_of_a_class_that_occurs_is_not_shown_as_zero():
    assert [percent(share) for share in (1, 0.5, 0.0012, 0.0004)] == ["100.0%", "50.0%", "0.1%", "< 0.1%"]


def test_a_text_that_was_cut_has_the_length_and_ends_with_an_ellipsis():
    """Guards: names that were cut in figures looked complete."""
    assert [cut("road sign", length) for length in (10, 9, 8, 6, 5)] == [
        "road sign", "road sign", "road si…", "road…", "road…"
    ]  # fmt: skip
