import argparse
import io
import os
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from mmtl.utils.cli import (
    add_config_arguments,
    add_force_argument,
    add_out_argument,
    check_minimum,
    check_out,
    resolve_device,
    run_tool,
    tool_parser,
)


def fail(error: Exception):
    def main() -> None:
        raise error

    return main


@pytest.fixture(autouse=True)
def tool_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/tools/some_tool.py"])


@pytest.mark.parametrize(
    "error", [FileNotFoundError("a.py"), ValueError("a.py"), ImportError("a.py"), OSError("a.py")]
)
def test_user_error_ends_with_one_line_that_names_the_tool(error, capsys):
    with pytest.raises(SystemExit) as end:
        run_tool(fail(error))
    assert end.value.code == 1 and capsys.readouterr().err == "some_tool: a.py\n"


def test_a_missing_file_is_named_with_the_folder_that_its_path_starts_at(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path, note in (("x/val.txt", f" Paths start at the current folder, {tmp_path}."), (f"{tmp_path}/a.txt", "")):
        with pytest.raises(SystemExit):
            run_tool(lambda path=path: open(path))
        assert capsys.readouterr().err == f"some_tool: {path} does not exist.{note}\n"


def test_key_error_is_a_bug_unless_a_tool_lists_it(capsys):
    with pytest.raises(KeyError):
        run_tool(fail(KeyError("no map of a.png")))
    with pytest.raises(SystemExit) as end:
        run_tool(fail(KeyError("no map of a.png")), errors=(KeyError,))
    assert end.value.code == 1 and capsys.readouterr().err == "some_tool: no map of a.png\n"


def test_bugs_keep_their_traceback():
    with pytest.raises(TypeError):
        run_tool(fail(TypeError("bug")))


@pytest.mark.parametrize("folder", ["", "images"])
def test_an_input_is_not_replaced_without_force(tmp_path, folder):
    """Guards: ``convert SRC SRC`` and ``predict … -o CHECKPOINT`` replaced what they had read."""
    (tmp_path / "images").mkdir()
    source = tmp_path / folder / "a.png"
    source.touch()
    os.link(source, tmp_path / "link.png")
    parser = tool_parser("")
    add_force_argument(parser)
    for out in (source, tmp_path / "link.png") if not folder else (source,):
        args = dict(out=out, images=tmp_path / folder if folder else source, config=None)
        with pytest.raises(ValueError, match="is an input and would be replaced"):
            check_out(parser.parse_args([], argparse.Namespace(**args)), "out", "config", "images")
        check_out(parser.parse_args(["--force"], argparse.Namespace(**args)), "out", "images")
    args = argparse.Namespace(out=tmp_path / "images" / "new.png", images=tmp_path / "images", force=False)
    check_out(args, "out", "images")


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    outs = ["", "file/new.csv", "long" * 100] + ["/proc/new.csv"] * Path("/proc/self").exists()
    for out in outs:
        args = argparse.Namespace(out=tmp_path / out, force=True)
        with pytest.raises(ValueError, match=r"^--out must be a file that can be written, got .*\. Give another file"):
            check_out(args, "out")
    for out in (tmp_path / "new/folder/file.csv", tmp_path / "file", Path("/dev/null")):
        check_out(argparse.Namespace(out=out, force=False), "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_an_unknown_or_absent_device_is_named_in_one_short_line(device):
    with pytest.raises(ValueError, match=rf"^--device must be a device of this machine \(cpu.*\), got {device}\.$"):
        resolve_device(argparse.Namespace(device=device))


def test_messages_cannot_control_a_terminal():
    with pytest.raises(SystemExit), redirect_stderr(io.StringIO()) as shown:
        run_tool(fail(ValueError("a\x1b[2J\rb\x00.png")))
    assert shown.getvalue() == "some_tool: a\\x1b[2J\\rb\\x00.png\n"


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError])
def test_a_name_with_a_line_break_adds_no_line_of_its_own(error):
    with pytest.raises(SystemExit), redirect_stderr(io.StringIO()) as shown:
        run_tool(fail(error("2 images were left out:\n  a\nsome_tool: all images are intact: decoded")))
    assert shown.getvalue() == (
        "some_tool: 2 images were left out:\n  a\\nsome_tool: all images are intact: decoded\n"
    )


@pytest.mark.parametrize("code", [None, 0, 3])
def test_exit_code_is_that_of_main(code):
    with pytest.raises(SystemExit) as end:
        run_tool(lambda: code)
    assert end.value.code == code


def test_minimum_names_the_option_and_its_value():
    parser = tool_parser("")
    parser.add_argument("--batch-size", type=int)
    check_minimum(parser.parse_args([]), 1, "batch_size")
    check_minimum(parser.parse_args(["--batch-size", "1"]), 1, "batch_size")
    with pytest.raises(ValueError, match="--batch-size must be at least 1, got 0"):
        check_minimum(parser.parse_args(["--batch-size", "0"]), 1, "batch_size")


def test_config_options_are_typed_and_out_is_required_without_a_default(capsys):
    parser = tool_parser("")
    add_config_arguments(parser, "a config")
    add_out_argument(parser, "file to write")
    args = parser.parse_args(["a.py", "-o", "b.png", "--cfg-options", "model.depth=3"])
    assert args.cfg_options == {"model.depth": 3} and args.out.name == "b.png"
    with pytest.raises(SystemExit):
        parser.parse_args(["a.py"])
    assert "-o/--out" in capsys.readouterr().err


def test_misspelled_options_are_named_with_the_option_that_they_may_mean(capsys):
    parser = tool_parser("")
    add_out_argument(parser, "file to write")
    sub = parser.add_subparsers().add_parser("show")
    sub.add_argument("--images")
    for arguments, message in (
        (["--ouut=a", "show"], "error: the following arguments are required: -o/--out. Did you mean --out?"),
        (["-o", "a", "--ouut=b"], "error: unrecognized arguments: --ouut=b. Did you mean --out?"),
        (["-o", "a", "show", "--imges", "b"], "error: unrecognized arguments: --imges b. Did you mean --images?"),
        (["-o", "a", "--zzz"], "error: unrecognized arguments: --zzz\n"),
        (["--o"], "error: argument -o/--out: expected one argument\n"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(arguments)
        assert message in capsys.readouterr().err


def test_a_name_that_the_locale_cannot_encode_is_escaped(monkeypatch):
    """Guards: a class name or a path that is not ASCII ended tools with an error under other locales."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    with pytest.raises(SystemExit) as end:
        run_tool(lambda: print("日.png"))
    shown.seek(0)
    assert end.value.code is None and shown.read() == "\\u65e5.png\n"
