"""The commands of README and docs, and checks of their words that run nothing."""

import argparse
import inspect
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import mmpretrain.models  # noqa: F401 - fills the registries
import mmseg.models  # noqa: F401
import tomllib
from click import ClickException
from helpers.paths import ROOT
from mmengine import registry as root_registries
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, FlexibleRunner, IterBasedTrainLoop, Runner
from torch.distributed.run import get_args_parser

import mmtl.registry
from mmtl.apis.hand_over import upstream_script
from mmtl.cli.main import NAMES
from mmtl.models import TokenLabelDataPreprocessor
from mmtl.utils.config_file import read_config
from mmtl.utils.shipped_files import find_config

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
# What a page that says CONFIG stands for: options fit one of them.
CONFIGS = ("lvvit-small_8xb128-tokenlabel-300e_in1k", "lvvit-small_upernet_8xb2-160k_ade20k-512x512")
PLACEHOLDER = re.compile(r"[A-Z_]+|\$TRAIN")
MADE_BY_START = re.compile(r"\w+-mmtl(/\w+\.py)?")
# Commands of the system, and of packages whose options are not ours to check.
OTHERS = ("git", "cd", "source", "python3", "conda", "tensorboard")


class Command(NamedTuple):
    """One command of a page, variables replaced."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


class Parsed(Exception):  # noqa: N818 - stops a tool after its command line
    """The command line is valid."""


class StoppingParser(argparse.ArgumentParser):
    """Ends a tool when its command line is read, and raises its errors."""

    def parse_args(self, *args):
        super().parse_args(*args)
        raise Parsed

    def parse_intermixed_args(self, *args):
        super().parse_intermixed_args(*args)
        raise Parsed

    def error(self, message):
        raise ValueError(message)


def code_blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in blocks]


def commands_of(text: str, page: str) -> Iterator[Command]:
    """Yield the commands of a page's bash blocks, one for each part of ``a && b``."""
    variables = {}
    for block in code_blocks(text, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for name, value in variables.items():
                line = re.sub(rf"\${name}\b", value, line)
            if assigned := re.match(r"(\w+)=([^$\s]\S*)", line):
                variables[assigned[1]] = assigned[2]
                continue
            words = shlex.split(line, comments=True)
            while words and "=$(" not in words[0]:
                end = words.index("&&") if "&&" in words else len(words)
                yield Command(page, tuple(words[:end]))
                words = words[end + 1 :]


def documented_commands() -> list[Command]:
    """Return the commands of all pages, each once a page."""
    found = (command for path in PAGES for command in commands_of(path.read_text(), path.name))
    return list(dict.fromkeys(found))


def tool_words(command: Command) -> tuple[str, ...]:
    """Return tool and arguments of a command that runs a tool of mmtl by any of its names, else nothing."""
    words = command.words
    if words[0] == "srun":
        words = words[words.index("mmtl") :]
    if words[0] == "docker" and "mmtl" in words[2:]:
        words = words[words.index("mmtl", 2) + 1 :] if words[1] == "run" else ()
    if words[:3] == ("mim", "run", "mmtl"):
        return words[3:]
    return words[1:] if words[:1] == ("mmtl",) else ()


def check(command: Command) -> None:
    """Check that a command can work as printed.

    Raises:
        ValueError: A word of it is wrong.
        OSError: A config does not exist.
    """
    if tool := tool_words(command):
        return check_tool(*tool)
    program, *arguments = command.words
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        require(set(arguments) <= set(targets), "target of make", arguments)
    elif program == "pip":
        check_pip(arguments)
    elif program == "mim":
        check_mim(*arguments)
    elif program == "torchrun":
        args = get_args_parser().parse_args(arguments)
        check_script("train", args.training_script_args, args.training_script_args[0])
    elif program == "python":
        require((ROOT / arguments[0]).is_file(), "file", arguments[0])
    else:
        require(program in (*OTHERS, "docker"), "known program", program)


def require(condition: bool, kind: str, value: object) -> None:
    """Check a condition."""
    if not condition:
        raise ValueError(f"not a {kind}: {value}")


def check_pip(arguments: Sequence[str]) -> None:
    """Check that extras of ``pip install '.[extra]'`` exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in re.findall(r"\.\[(.*?)\]", " ".join(arguments)):
        require(set(name.split(",")) <= set(extras), "extra", name)


def check_mim(command: str, package: str, *arguments: str) -> None:
    """Check ``mim train PACKAGE CONFIG ...`` and ``mim test``."""
    try:
        context = import_module(f"mim.commands.{command}").cli.make_context(command, [package, *arguments])
    except ClickException as error:
        raise ValueError(error.message) from error
    rest = list(context.params["other_args"])
    config, checkpoint = context.params["config"], context.params.get("checkpoint")
    check_script(command, [config, *([checkpoint] if checkpoint else []), *rest], config)


def check_tool(name: str, *arguments: str) -> None:
    """Check a command of mmtl with its own parser."""
    if name in ("-h", "--version"):
        return
    require(name in NAMES, "command of mmtl", name)
    module = import_module(f"mmtl.cli.{name}")
    if name in ("train", "test"):
        if not MADE_BY_START.fullmatch(arguments[0]):
            check_training(name, list(arguments))
        return
    try:
        module.main(StoppingParser(), list(arguments))
    except Parsed:
        pass
    for config in (word for word in arguments if word.endswith(".py") and "/" in word):
        require(bool(MADE_BY_START.fullmatch(config)) or (ROOT / config).is_file(), "config", config)
    if name == "config":
        find_config(arguments[0])


def check_training(name: str, arguments: list[str]) -> None:
    """Check ``mmtl train`` and ``mmtl test``: what they take out of the command line themselves, then the script's."""
    own = StoppingParser(add_help=False, allow_abbrev=False)
    own.add_argument("--gpus", "--processes", type=int)
    own.add_argument("--checkpoint")
    if name == "test":
        own.add_argument("--worst", type=int)
    known, rest = own.parse_known_args(arguments)
    check_script(name, [rest[0], *([known.checkpoint] if known.checkpoint else []), *rest[1:]], rest[0])


def check_script(tool: str, arguments: Sequence[str], config: str) -> None:
    """Check the command line of the script that trains or tests, and the options of a config."""
    faults = []
    for name in CONFIGS if PLACEHOLDER.fullmatch(config) else (config,):
        path = find_config(ROOT / name if name.endswith(".py") else name)
        try:
            script = upstream_script(read_config(path), tool)
            check_options(path, parse_script(script, [str(path), *arguments[1:]]).cfg_options or {})
            return
        except (ValueError, KeyError) as error:
            faults.append(f"{path.name}: {error}")
    raise ValueError("; ".join(faults))


def parse_script(script: Path, arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line of a script of MMPretrain or MMSegmentation."""

    def fail(self: argparse.ArgumentParser, message: str) -> None:
        raise ValueError(message)

    environment = {"LOCAL_RANK": "0"}
    with (
        patch.object(argparse.ArgumentParser, "error", fail),
        patch.object(sys, "argv", [str(script), *arguments]),
        patch.dict("os.environ", environment),
    ):
        return script_parser(script)()


@cache
def script_parser(script: Path) -> Callable[[], argparse.Namespace]:
    """Return the function of a script that reads its command line."""
    return runpy.run_path(str(script))["parse_args"]


def check_options(path: Path, options: dict) -> None:
    """Check that a config has the keys of options, or that the type there has such an argument."""
    changed = Config(read(path).to_dict())
    changed.merge_from_dict(options)
    config, changed = read(path).to_dict(), changed.to_dict()
    for key in options:
        old, new = config, changed
        for part in key.split("."):
            if isinstance(new, list):
                part = int(part)
                old = old[part] if isinstance(old, list) and part < len(old) else {}
            elif isinstance(old, dict) and part in old:
                old = old[part]
            else:
                known = TOP_LEVEL if new is changed else arguments_of(new, config["default_scope"])
                require(part in known, f"key of {path.name}", key)
                old = {}
            new = new[part]


@cache
def read(path: Path) -> Config:
    """Return a config."""
    return Config.fromfile(path)


def arguments_of(node: dict, scope: str) -> set[str]:
    """Return the keys that a config may get besides its own: arguments of its type, also those passed on to bases."""
    if "type" in node:
        return parameters(find_type(node["type"], scope)) | {"type"}
    if "mean" in node:  # the type that the classifier sets
        return parameters(TokenLabelDataPreprocessor)
    if "batch_size" in node:
        return {"drop_last", "pin_memory"}
    return parameters(EpochBasedTrainLoop if node.get("by_epoch") else IterBasedTrainLoop)


def find_type(name: str, scope: str) -> type:
    """Return what a config means by a type."""
    for registry in (*vars(mmtl.registry).values(), *vars(root_registries).values()):
        if isinstance(registry, Registry) and (found := registry.get(name) or registry.get(f"{scope}.{name}")):
            return found
    raise ValueError(f"{name} is not registered")


@cache
def parameters(kind: type) -> set[str]:
    """Return the names of the arguments of a class and its bases, or of a function."""
    steps = kind.__mro__ if inspect.isclass(kind) else (kind,)
    return {name for step in steps if step is not object for name in inspect.signature(step).parameters}


TOP_LEVEL = parameters(Runner) | parameters(FlexibleRunner) | {"runner_type", "sync_bn"}
