"""What the command-line tools share: common options and one way to report a user's errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from mmengine.config import DictAction

USER_ERRORS = (OSError, ValueError, ImportError, RuntimeError)  # RuntimeError: a device that is missing or full


def run_tool(main: Callable[[], int | None], errors: tuple[type[Exception], ...] = USER_ERRORS) -> NoReturn:
    """Run a tool and end the process with its exit code.

    ``main`` reads the command line, does the work and returns the exit code; None means 0. Errors that a user can
    cause end with one line ``TOOL: message`` on standard error and exit code 1; others are bugs and keep their
    traceback.
    """
    try:
        sys.exit(main())
    except errors as error:
        # str(KeyError) is the repr of its message.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.exit(f"{Path(sys.argv[0]).stem}: {str(message) or type(error).__name__}")


def tool_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the tool's docstring with its line breaks."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_config_arguments(parser: argparse.ArgumentParser, kind: str) -> None:
    """Add ``config``, whose help text is ``kind`` ("a segmentation config"), and ``--cfg-options``."""
    parser.add_argument("config", type=Path, help=kind)
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="override config values, key=value")


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, by default the GPU if there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device, help="device (default: %(default)s)")


def add_out_argument(parser: argparse.ArgumentParser, text: str, default: str | None = None) -> None:
    """Add ``-o``/``--out``, which is required without a default."""
    parser.add_argument("-o", "--out", type=Path, required=default is None, default=default, help=text)


def check_minimum(arguments: argparse.Namespace, minimum: int, *names: str) -> None:
    """Check that options, where given, are at least ``minimum``."""
    for name in names:
        value = getattr(arguments, name, None)
        if value is not None and value < minimum:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {minimum}, got {value}.")
