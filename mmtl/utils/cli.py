"""What the command-line tools share: common options and one way to report a user's errors.

This module imports only the standard library, and commands import the rest in ``main``: Ctrl-C during imports, which
take seconds, then is reported as at any other time.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from mmtl.utils.image_files import IMAGE_SUFFIXES
from mmtl.utils.processes import end_with_parent, is_rank_of_tool, raise_on_sigterm, stopped_by, usable_cpus
from mmtl.utils.text import did_you_mean, printable

# RuntimeError: a device that is missing or full. AssertionError: torch without CUDA, and MMEngine's checks.
USER_ERRORS = (OSError, ValueError, ImportError, RuntimeError, AssertionError, MemoryError)
FULL = "Free its memory, or give another device, smaller images or a smaller batch."
CONTINUE = "Run the same command again to continue."


def run_tool(
    main: Callable[[], int | None],
    errors: tuple[type[Exception], ...] = USER_ERRORS,
    advice: str = CONTINUE,
    program: str | None = None,
    traceback: bool = False,
) -> NoReturn:
    """Run a tool and end the process with its exit code.

    ``main`` reads the command line, does the work and returns the exit code; None means 0. Errors end with one line
    ``TOOL: message`` on standard error and exit code 1. Ctrl-C and SIGTERM end with one line and exit code 130 or 143.

    Args:
        main: the work; imports inside it are interrupted and fail as the work itself.
        errors: those that a user can cause. Others are bugs: they keep their traceback, or, in a subcommand of
            ``mmtl``, name their type.
        advice: what follows "stopped." after Ctrl-C and SIGTERM.
        program: what messages call the tool; None for the name of the script.
        traceback: whether all errors keep their traceback.
    """
    raise_on_sigterm()
    for stream in (sys.stdout, sys.stderr):  # a name that the locale cannot encode is escaped, not an error
        if hasattr(stream, "reconfigure"):  # not of notebooks and tests
            stream.reconfigure(errors="backslashreplace")
    if is_rank := is_rank_of_tool():  # Ctrl-C reaches the tool, which ends its ranks by SIGTERM
        end_with_parent()
    try:
        sys.exit(main())
    except BaseException as error:
        if (signal := stopped_by(error)) and is_rank:  # the tool reports it
            sys.exit(128 + signal)
        if signal:
            end_with(f"stopped. {advice}", 128 + signal, program)
        is_reported = isinstance(error, errors) or (program and isinstance(error, Exception))
        if traceback or not is_reported:
            raise
        end_with(one_line(error, errors), 1, program)


def one_line(error: Exception, errors: tuple[type[Exception], ...] = USER_ERRORS) -> str:
    """Return what a user needs to know of an error."""
    # Other libraries' messages have advice for programmers below their first line.
    message, own = message_of(error), isinstance(error, (ValueError, OSError))
    text = message if own else message.partition("\n")[0]
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        note = "" if Path(error.filename).is_absolute() else f" Paths start at the current folder, {Path.cwd()}."
        return f"{error.filename} does not exist.{note}"
    if isinstance(error, OSError) and isinstance(error.filename, str) and error.strerror:
        return f"{error.filename}: {error.strerror}."
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # of torch
        return f"{text or type(error).__name__} {FULL}"
    if isinstance(error, errors):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text} (--traceback shows where)"


def message_of(error: Exception) -> str:
    """Return the message of an error, without the traceback that torch puts before that of a data-loader worker."""
    # str(KeyError) is the repr of its message.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    raised = rf"\A(?:Caught )?{type(error).__name__} in DataLoader worker process.*^(?:\w+\.)*{type(error).__name__}: "
    return re.sub(raised, "", text, flags=re.MULTILINE | re.DOTALL)


def end_with(message: str, code: int, program: str | None = None) -> NoReturn:
    """End the process with a line ``TOOL: message`` on standard error and an exit code."""
    message = re.sub(r"\n(?!  )", r"\\n", printable(message))  # a name may contain one; our own are indented
    print(f"{program or Path(sys.argv[0]).stem}: {message}", file=sys.stderr)
    sys.exit(code)


class ToolParser(argparse.ArgumentParser):
    """A parser whose errors name the option that a misspelled one may mean."""

    given: Sequence[str] = ()

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        """Remember the arguments for `error`."""
        self.given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End the process with exit code 2."""
        commands = (action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction))
        chosen = (parser for choices in commands for name, parser in choices.items() if name in self.given)
        actions = itertools.chain(*(parser._option_string_actions for parser in (self, *chosen)))
        options = [option for option in actions if option.startswith("--")]
        names = [word.partition("=")[0] for word in self.given if word.startswith("--")]
        unknown = (name for name in names if not any(option.startswith(name) for option in options))
        questions = filter(None, (did_you_mean(name, options) for name in unknown))
        super().error(message + "".join(f". {question}" for question in questions))


def tool_parser(doc: str | None, program: str | None = None) -> argparse.ArgumentParser:
    """Return a parser whose help is the tool's docstring with its line breaks."""
    return ToolParser(program, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def print_upstream_help(parser: argparse.ArgumentParser) -> None:
    """Print the help of a command that starts an upstream script.

    Only that of ``mmtl`` names ``--gpus``: mim searches the help for it, and adds options that the scripts refuse.
    """
    if parser.prog.startswith("mmtl "):
        parser.epilog = "`--gpus N` is the same as `--processes N`; `--gpus 0` runs on the CPU."
    parser.print_help()


def add_config_arguments(parser: argparse.ArgumentParser, kind: str) -> None:
    """Add ``config``, whose help text is ``kind`` ("a segmentation config"), and ``--cfg-options``."""
    from mmengine.config import DictAction

    parser.add_argument("config", type=Path, help=kind)
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="override config values, key=value")


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, see `resolve_device`."""
    parser.add_argument("--device", help="device (default: the GPU if there is one, else the CPU)")


def resolve_device(arguments: argparse.Namespace) -> None:
    """Set the default of ``--device`` and check it; imports torch, which the help of a tool does without."""
    import torch

    arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=arguments.device)
    except (RuntimeError, AssertionError):  # their messages list all devices of PyTorch, or name a driver to install
        known = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        text = f"--device must be a device of this machine ({', '.join(known)}), got {arguments.device}."
        raise ValueError(text) from None


def add_out_argument(parser: argparse.ArgumentParser, text: str, default: str | None = None) -> None:
    """Add ``-o``/``--out``, which is required without a default."""
    parser.add_argument("-o", "--out", type=Path, required=default is None, default=default, help=text)


def add_classifier_arguments(parser: argparse.ArgumentParser, images: str) -> None:
    """Add what tools that classify a folder of images take; ``images`` is the help text of the folder."""
    parser.add_argument("config", type=Path, help="a classification config")
    parser.add_argument("checkpoint", type=Path, help="its weights: a file or a URL")
    parser.add_argument("images", type=Path, help=images)
    parser.add_argument("--batch-size", type=int, default=64, help="images per batch (default: %(default)s)")
    workers = min(2, usable_cpus())
    parser.add_argument(
        "--workers", type=int, default=workers, help="processes that decode images (default: %(default)s)"
    )
    add_device_argument(parser)
    add_force_argument(parser)


def check_classifier_arguments(arguments: argparse.Namespace) -> None:
    """Check the values of `add_classifier_arguments` and ``--out``; remove ``force``."""
    check_out(arguments, "out", "config", "checkpoint", "images")
    check_minimum(arguments, 1, "batch_size")
    check_minimum(arguments, 0, "workers")


def add_force_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--force``, see `check_out`."""
    parser.add_argument("--force", action="store_true", help="replace the file even if it is an input")


def check_out(arguments: argparse.Namespace, out: str, *inputs: str) -> None:
    """Check that the file to write, if any, can be written and is not an input or image of one; remove ``force``."""
    force, target = vars(arguments).pop("force"), getattr(arguments, out)
    inputs = inputs if target is not None else ()
    for source in (Path(value) for name in inputs if (value := getattr(arguments, name)) is not None):
        is_read = target.is_file() and source.exists() and target.samefile(source)
        below = source.is_dir() and target.resolve().is_relative_to(source.resolve())
        if not force and (is_read or (below and target.is_file() and target.suffix.lower() in IMAGE_SUFFIXES)):
            raise ValueError(f"{target} is an input and would be replaced. Give another file, or --force.")
    if target is not None and (problem := write_problem(Path(target))):
        name = "--out" if out == "out" else out
        raise ValueError(f"{name} must be a file that can be written, got {target}: {problem}. Give another file.")


def write_problem(path: Path) -> str | None:
    """Return what keeps a file, which is written beside its name first, from being written; None if nothing does."""
    try:
        path = path.resolve()
        if path.is_dir():
            return os.strerror(errno.EISDIR)
        if path.exists() and not path.is_file():  # a device or a pipe
            return None
        folder = next(parent for parent in path.parents if parent.exists())
        with tempfile.TemporaryFile(dir=folder):
            return None
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself
        return getattr(error, "strerror", None) or str(error)


def check_input_size(arguments: argparse.Namespace) -> None:
    """Check that ``--input-size``, where given, is one side, or height and width, in pixels."""
    size = getattr(arguments, "input_size", None)
    if size and (len(size) > 2 or min(size) < 1):
        raise ValueError(f"--input-size must be one side, or height and width, in pixels, got {size}.")


def check_minimum(arguments: argparse.Namespace, minimum: int, *names: str) -> None:
    """Check that options, where given, are at least ``minimum``."""
    for name in names:
        value = getattr(arguments, name, None)
        if value is not None and value < minimum:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {minimum}, got {value}.")
