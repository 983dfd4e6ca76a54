import sys

import pytest

from mmtl.utils.cli import add_config_arguments, add_out_argument, check_minimum, run_tool, tool_parser


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
def test_user_error_ends_with_one_line_that_names_the_tool(error):
    with pytest.raises(SystemExit) as end:
        run_tool(fail(error))
    assert end.value.code == "some_tool: a.py"  # Python prints a string to stderr and exits with code 1


def test_key_error_is_a_bug_unless_a_tool_lists_it():
    with pytest.raises(KeyError):
        run_tool(fail(KeyError("no map of a.png")))
    with pytest.raises(SystemExit) as end:
        run_tool(fail(KeyError("no map of a.png")), errors=(KeyError,))
    assert end.value.code == "some_tool: no map of a.png"


@pytest.mark.parametrize("error", [TypeError("bug"), KeyboardInterrupt()])
def test_bugs_and_interrupts_keep_their_traceback(error):
    with pytest.raises(type(error)):
        run_tool(fail(error))


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
