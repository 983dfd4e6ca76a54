"""The command ``mmtl``: each tool is a subcommand, a module of this folder with the function ``main``.

A module's docstring is its help. Modules are imported when their command runs, so that the help of ``mmtl`` and
commands that need no torch start at once.
"""

import ast
import os
import sys
from argparse import SUPPRESS
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import mmtl
from mmtl.utils.cli import CONTINUE, end_with, run_tool, tool_parser
from mmtl.utils.processes import IS_STEP
from mmtl.utils.text import did_you_mean

# Group -> commands, in the order of the help.
COMMANDS = {
    "your own images": ("start", "train", "test", "predict", "segment", "corruption_error", "convert_masks"),
    "score maps": ("make_score_maps", "score_maps"),
    "checks and figures": ("browse_samples", "check_segmentation_data"),
    "configs and checkpoints": ("list", "config", "convert_checkpoint", "export_onnx"),
    "demo": ("demo", "make_demo_data"),
}
NAMES = [name for names in COMMANDS.values() for name in names]
TRACEBACK = "--traceback"


def main() -> NoReturn:
    """Run the command that the command line names; the entry point of the script ``mmtl``."""
    arguments = sys.argv[1:]
    name = next((word for word in arguments if word != TRACEBACK), "--help")
    if name in ("-h", "--help"):
        print(help_text())
        sys.exit()
    if name == "--version":
        print(f"mmtl {mmtl.__version__}")
        sys.exit()
    if name not in NAMES:
        end_with(f"{name!r} is not a command. {did_you_mean(name, NAMES) or 'See mmtl -h.'}", 2, "mmtl")
    arguments.remove(name)
    run_command(name, arguments, program=f"mmtl {name}")


def run_command(name: str, arguments: list[str] | None = None, program: str | None = None) -> NoReturn:
    """Run a command and end the process with its exit code.

    Args:
        name: module of this folder.
        arguments: command line after the command; None takes that of this process.
        program: how messages name the command; None for the script's name, as in ``tools/``.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    traceback = TRACEBACK in arguments
    arguments = [word for word in arguments if word != TRACEBACK]

    def run() -> int | None:
        module = import_module(f"mmtl.cli.{name}")
        parser = tool_parser(module.__doc__, program)
        parser.add_argument(
            TRACEBACK, action="store_true", default=SUPPRESS, help="show the Python traceback of an error"
        )
        return module.main(parser, arguments)

    resumes = name != "train" or any(Path(word).is_dir() for word in arguments[:1])
    advice = CONTINUE if resumes else "Add --resume to continue from the last checkpoint."
    if "--restart" in arguments:
        advice = "Run the command without --restart to continue."
    if os.environ.get(IS_STEP):
        advice = "Run the command that has started this step again to continue."
    run_tool(run, advice=advice, program=program, traceback=traceback)


def help_text() -> str:
    """Return the help of ``mmtl``: every command with the first line of its docstring."""
    lines = [f"usage: mmtl COMMAND ... [{TRACEBACK}]", "", mmtl.__doc__.splitlines()[0]]
    for group, names in COMMANDS.items():
        lines += ["", f"{group}:", *(f"  {name:24}{summary(name)}" for name in names)]
    return "\n".join([*lines, "", "mmtl COMMAND -h shows the options of a command."])


def summary(name: str) -> str:
    """Return the first line of a command's docstring, without importing the module."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)).splitlines()[0]
