"""Reading of config files with errors that name the file."""

import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmtl.utils.shipped_files import find_config

# Top-level keys that something reads after a config is complete; all others only help to write the config.
KEYS_READ = {
    *inspect.signature(Runner.__init__).parameters,
    *("activation_checkpointing", "compile", "data_preprocessor", "efficient_conv_bn_eval", "find_unused_parameters"),
    *("model_wrapper_cfg", "runner_type", "strategy", "sync_bn", "tta_model", "tta_pipeline"),
}


def read_config(path: Path, cfg_options: dict | None = None) -> Config:
    """Read a config, a file or the name of one of mmtl's, and override values in it by dotted key."""
    path = find_config(path)
    try:
        config = Config.fromfile(path)
        written = {key: config.get(key) for key in config}
        config.merge_from_dict(cfg_options or {})
    except Exception as error:  # a config is a program: any error can be its own
        raise ValueError(f"{path} cannot be read as a config: {_kind_and_reason(error)}") from error
    warn_of_unused(written, config)
    return config


@contextmanager
def name_config_errors(path: str | Path) -> Iterator[None]:
    """Convert errors of building what a config describes, such as a KeyError for an unknown type, to a ValueError.

    Errors with a message for users keep their type.
    """
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, AssertionError):
        raise
    except Exception as error:
        raise ValueError(f"{path}: what it describes cannot be built: {_kind_and_reason(error)}") from error


def _kind_and_reason(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error  # its str is a repr
    return f"{type(error).__name__}: {(str(text).strip() or 'no message').splitlines()[0]}"


def warn_of_changes_without_effect(config: Config) -> None:
    """Log a warning for ``--cfg-options`` of a run whose values the config file has already used."""
    if config.filename and Path(config.filename).is_file():
        warn_of_unused(Config.fromfile(config.filename), config)


def warn_of_unused(written: Mapping, config: Mapping) -> None:
    """Log a warning for each value that differs from what a file has written and that nothing reads."""
    for key in config:
        is_read = key in KEYS_READ or (key == "score_maps" and config[key] is None)  # see mmtl.WithoutScoreMapsHook
        if not is_read:
            for name, value in changed_values(key, written.get(key), config[key]):
                text = f"{name}={value!r} changes nothing: it is a variable of the config, which has used it already."
                print_log(f"{text} Change the keys that depend on it.", logger="current", level=logging.WARNING)


def changed_values(name: str, old: object, new: object) -> Iterable[tuple[str, object]]:
    """Yield the dotted name and the new value of what differs in nested dictionaries."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in new:
            yield from changed_values(f"{name}.{key}", old.get(key), new[key])
    elif old != new:
        yield name, new
