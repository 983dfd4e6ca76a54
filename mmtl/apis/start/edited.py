"""Values in the first block of a config of `mmtl start` that its user has edited, checked before anything runs."""

import ast
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from mmtl.utils.config_file import KEYS_READ
from mmtl.utils.shipped_files import find_config
from mmtl.utils.text import did_you_mean

MADE = re.compile(r"^# Made by: +mmtl start, from configs/own_data/(\S+)$", re.MULTILINE)


def check_project(configs: Sequence[Path], made: Sequence[Path]) -> list[str]:
    """Check the configs of steps that follow each other, and return the warnings of `check_edits`.

    Args:
        configs: in the order of the steps.
        made: files and folders that the steps make.

    Raises:
        ValueError: A value cannot work by itself or with those of the other configs.
    """
    warnings = [text for config in configs for text in check_edits(config)]
    first = None  # config with classes, and these
    for config in configs:
        found = literals(text_of_start(config))
        classes, store = found.get("classes"), found.get("score_maps")
        first = first or (classes and (config, classes))
        if classes and list(classes) != list(first[1]):
            raise ValueError(f"{config}: classes must be those of {first[0]}, got {classes}. Correct one of them.")
        if store and Path(store) not in made and not Path(store).exists():
            raise ValueError(f"{config}: score_maps must be a store that exists or that a step makes, got {store!r}.")
    return warnings


def check_edits(config: Path) -> list[str]:
    """Compare the variables of a config that `mmtl start` has made with those of its template.

    Returns:
        Warnings about variables that the template does not have and nothing reads. Empty for other configs.

    Raises:
        ValueError: A value is of another kind than the template's, such as a negative number.
    """
    if not (text := text_of_start(config)):
        return []
    known = literals(find_config(MADE.search(text)[1]).read_text(encoding="utf-8"))
    found = literals(text)
    for name in found.keys() & known.keys():
        if expected := unmet(name, found[name], known[name]):
            raise ValueError(f"{config}: {name} must be {expected}, got {found[name]!r}. Correct it.")
    side, patch = found.get("img_size"), found.get("patch_size")
    if side and patch and side % patch:
        raise ValueError(f"{config}: patch_size must divide img_size = {side}, got {patch}. Change one of them.")
    nodes = ast.walk(ast.parse(text))
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    idle = sorted(found.keys() - known.keys() - read - KEYS_READ)
    texts = ((f"{config}: {name}={found[name]!r} changes nothing.", did_you_mean(name, known, 0.5)) for name in idle)
    return [" ".join(filter(None, parts)) for parts in texts]


def text_of_start(config: Path) -> str:
    """Return the text of a config that `mmtl start` has made, empty for others and for what Python cannot read."""
    text = config.read_text(encoding="utf-8") if config.suffix == ".py" and config.is_file() else ""
    with suppress(SyntaxError):  # which reading the config reports
        ast.parse(text)
        return text if MADE.search(text) else ""
    return ""


def literals(text: str) -> dict[str, Any]:
    """Return the variables at the top level of a config's text whose values are literals."""
    values = {}
    for node in ast.parse(text).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id != "_base_":
            with suppress(ValueError):
                values[target.id] = ast.literal_eval(node.value)
    return values


def unmet(name: str, value: Any, usual: Any) -> str | None:
    """Return what a value must be to be of the kind of the template's usual one, None if it is that."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if name == "mixtoken":
        return None if value is None or (is_number and 0 <= value <= 1) else "None or a share of batches, 0 to 1"
    if isinstance(usual, bool):
        return None if isinstance(value, bool) else "True or False"
    if isinstance(usual, int):
        lowest = 0 if name == "num_workers" else 1
        is_whole = isinstance(value, int) and is_number and value >= lowest
        return None if is_whole else f"a whole number of at least {lowest}"
    if isinstance(usual, float):
        return None if is_number and 0 < value < float("inf") else "a number above 0"
    if isinstance(usual, (tuple, list)):
        values = value if isinstance(value, (tuple, list)) else []
        if all(isinstance(each, str) for each in usual):
            is_met = all(isinstance(each, str) for each in values) and len(set(values)) == len(values) > 1
            return None if is_met else "a list of different names in quotes"
        if all(isinstance(each, int) for each in usual):
            is_met = len(values) == len(usual) and not any(map(partial(unmet, name), values, usual))
            return None if is_met else f"{len(usual)} whole numbers of at least 1"
    return None
