"""Write ready configs from the templates of ``configs/own_data``."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.shipped_files import find_config, shipped_folder
from mmtl.utils.text import in_line


def write_config(template: str, target: Path, values: Mapping[str, Any]) -> None:
    """Write a template with values filled in, and beside it the files that it inherits.

    Args:
        template: name of a config of ``configs/own_data``.
        target: file to write.
        values: variable of the template's first block -> value.
    """
    source = find_config(template)
    text = fill(source.read_text(encoding="utf-8"), values)
    command = in_line(shlex.join(["mmtl", "train", str(target)]))
    head = f"# Made by:   mmtl start, from configs/own_data/{source.name}\n# Command:   {command}\n"
    lines = r"(# (Made by|Command|Batch|Length|Measured|Data|Needs):.*\n(#  .*\n)*)+"
    text = re.sub(lines, lambda _: head, text, count=1)
    configs = shipped_folder("configs").resolve()
    for path in inherited_files(source):
        copy = target.parent / path.relative_to(configs)
        with atomic_file(copy) as part:
            part.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    with atomic_file(target) as part:
        part.write_text(text.replace('"../', '"'), encoding="utf-8")
    Config.fromfile(target)  # a value that the config cannot use is an error now


def fill(text: str, values: Mapping[str, Any]) -> str:
    """Return a config's text with other values of variables; their comments stay."""
    lines, missing = text.splitlines(), dict(values)
    for node in reversed(ast.parse(text).body):
        name = getattr(node.targets[0], "id", None) if isinstance(node, ast.Assign) else None
        if name in missing:
            comment = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
            lines[node.lineno - 1 : node.end_lineno] = [f"{name} = {missing.pop(name)!r}{comment}"]
    if missing:
        raise KeyError(f"{', '.join(missing)}: not a variable of the template.")
    return "\n".join(lines) + "\n"


def inherited_files(config: Path) -> Iterator[Path]:
    """Yield the files that a config inherits, directly and indirectly."""
    for name in Config._get_base_files(str(config)):
        path = (config.parent / name).resolve()
        yield path
        yield from inherited_files(path)
