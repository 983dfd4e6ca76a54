"""Variables of a config that a child config or an option changes after the config has used them.

A config is a program: ``data_root = "data/ade"`` is used where the file writes ``data_root``, and a later value of the
variable changes nothing. `follow_variables` applies those that people change most to the settings that have an earlier
value; all others are a warning.
"""

import ast
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

FOLLOWED = ("data_root", "score_maps", "crop_size")
CROP_KEYS = ("crop_size", "size", "img_size")  # settings that are derived from crop_size

Change = Callable[[str, Any], Any]  # (last part of a dotted key, value) -> new value


def follow_variables(config: Config) -> list[str]:
    """Apply changed variables to the settings that have an earlier value of theirs, and return what was applied.

    Nothing is applied if a setting has the new value already: then both were changed together, on purpose.
    """
    lines = []
    for name in FOLLOWED:
        if not config.get(name) or is_used(config, name):
            continue
        new = config[name]
        for old in earlier_values(config, name):
            change = replacement(name, old, new)
            found = {key: rewritten(config[key], change) for key in settings_of(config, name)}
            changed = [key for key, value in found.items() if value != config[key]]
            if changed:
                config.update({key: found[key] for key in changed})
                lines.append(f"{name}={new!r} is used in {', '.join(changed)} in place of {old!r}.")
    return lines


def is_used(config: Config, name: str) -> bool:
    """Return whether a setting has the present value of a variable that is followed."""
    change = replacement(name, config.get(name), (-1, -1) if name == "crop_size" else "\0")
    return any(rewritten(config[key], change) != config[key] for key in settings_of(config, name))


def settings_of(config: Config, name: str) -> Iterator[str]:
    """Yield the top-level keys that hold what is derived from a variable."""
    names = re.compile(".*_dataloader|tta_pipeline|model" if name == "crop_size" else ".*_(dataloader|evaluator)")
    return (key for key in [*config] if names.fullmatch(key) and config[key])


def replacement(name: str, old: Any, new: Any) -> Change:
    """Return a function that replaces what is derived from a variable; values of other types than its own stay."""
    if name == "crop_size" and as_pair(old) and as_pair(new):
        return replace_crop(as_pair(old), as_pair(new))
    if name != "crop_size" and isinstance(old, str) and isinstance(new, str):
        return replace_path(old.rstrip("/"), new.rstrip("/"))
    return lambda key, value: value


def replace_path(old: str, new: str) -> Change:
    """Return a function that replaces a folder, and the start of paths below it."""

    def change(key: str, value: Any) -> Any:
        is_below = isinstance(value, str) and (value + "/").startswith(old + "/")
        return new + value[len(old) :] if is_below else value

    return change


def replace_crop(old: tuple[int, int], new: tuple[int, int]) -> Change:
    """Return a function that replaces a crop size, and scales the stride of windows of this size."""

    def change(key: str, value: Any) -> Any:
        if isinstance(value, Mapping) and as_pair(value.get("stride")) and as_pair(value.get("crop_size")) == old:
            sides = zip(as_pair(value["stride"]), old, new, strict=True)
            return {**value, "stride": tuple(round(stride * to / before) for stride, before, to in sides)}
        return new if key in CROP_KEYS and as_pair(value) == old else value

    return change


def as_pair(value: Any) -> tuple[int, int] | None:
    """Return a size as (H, W), None for what is not a size."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    is_pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(side, int) for side in value)
    return tuple(value) if is_pair else None


def rewritten(node: Any, change: Change, key: str = "") -> Any:
    """Return a copy of nested settings with every value changed, dictionaries before what is in them."""
    node = change(key, node)
    if isinstance(node, Mapping):
        return {name: rewritten(value, change, name) for name, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(rewritten(value, change) for value in node)
    return node


def earlier_values(config: Config, name: str) -> list[Any]:
    """Return the values other than the present one that the files of a config assign to a variable as literals.

    The value of the complete file may be computed: it is what an option replaces.
    """
    is_file = config.filename and Path(config.filename).is_file()
    found = [Config.fromfile(config.filename).get(name)] if is_file else []
    for text in assignments(config.text, name):
        with suppress(ValueError, SyntaxError):
            found.append(ast.literal_eval(text))
    found = [value for value in found if value and value != config[name]]
    return [value for index, value in enumerate(found) if value not in found[:index]]


def assignments(text: str, name: str) -> list[str]:
    """Return what config files assign to a variable at their top level, up to the end of a line or bracket."""
    value = r"[(\[][^()\[\]]*[)\]]|.+"
    return re.findall(rf"^(?:[\w, ]*,)? *{name} *(?:,[\w, ]*)?= *({value})", text, flags=re.MULTILINE)


def warn_of_unused(written: Mapping, config: Config, keys_read: Iterable[str]) -> None:
    """Log a warning for each value that nothing reads: changed after its file, or in a child config."""
    for key in [*config]:
        # mmtl.WithoutScoreMapsHook reads score_maps=None.
        if key in keys_read or (key == "score_maps" and not config[key]) or (key in FOLLOWED and is_used(config, key)):
            continue
        idle = [(key, config[key])] if key in idle_names(config) else []
        for name, value in [*changed_values(key, written.get(key), config[key])] or idle:
            text = f"{name}={value!r} changes nothing: it is a variable of the config, which has used it already."
            remedy = "Set runner_type='mmtl.Runner', which applies it, or change" if name in FOLLOWED else "Change"
            print_log(f"{text} {remedy} the keys that depend on it.", logger="current", level=logging.WARNING)


def idle_names(config: Config) -> set[str]:
    """Return the variables that a child config assigns and does not use, after its base config has used its own."""
    path = Path(config.filename or "")
    if path.suffix != ".py" or not path.is_file():
        return set()
    text = path.read_text(encoding="utf-8")
    nodes = [*ast.walk(ast.parse(text))]
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    names = {node.id for node in nodes if isinstance(node, ast.Name)} - read
    return {name for name in names if len(assignments(config.text, name)) > len(assignments(text, name)) > 0}


def changed_values(name: str, old: object, new: object) -> Iterator[tuple[str, object]]:
    """Yield the dotted name and the new value of what differs in nested dictionaries."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in new:
            yield from changed_values(f"{name}.{key}", old.get(key), new[key])
    elif old != new:
        yield name, new
