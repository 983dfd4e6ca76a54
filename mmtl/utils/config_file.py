"""Reading of config files with errors that name the file."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from mmtl.utils.config_variables import follow_variables, warn_of_unused
from mmtl.utils.shipped_files import find_config

# Top-level keys that something reads after a config is complete; all others only help to write the config.
KEYS_READ = {
    *inspect.signature(Runner.__init__).parameters,
    *("activation_checkpointing", "compile", "data_preprocessor", "efficient_conv_bn_eval", "find_unused_parameters"),
    *("model_wrapper_cfg", "runner_type", "strategy", "sync_bn", "tta_model", "tta_pipeline"),
}


def read_config(path: Path, cfg_options: dict | None = None, warn: bool = True) -> Config:
    """Read a config, a file or the name of one of mmtl's, override values in it, and apply changed variables.

    ``warn`` logs changes that have no effect.
    """
    path = find_config(path)
    with _name_unreadable(path):
        config = Config.fromfile(path)
        written = {key: config.get(key) for key in config}
        config.merge_from_dict(cfg_options or {})
    follow_variables(config)
    if warn:
        warn_of_unused(written, config, KEYS_READ)
    return config


def config_text(path: Path) -> str:
    """Return all values of a config file, as they are written, in one text."""
    with _name_unreadable(path):
        return Config.fromfile(path).pretty_text


@contextmanager
def _name_unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a config is a program: any error can be its own
        reason = _kind_and_reason(error).replace("<unknown>, ", "")  # the name that Python gives to the file
        raise ValueError(f"{path} cannot be read as a config: {reason}") from error


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
    """Log a warning for options and variables of a run's config whose values the config has already used."""
    if config.filename and Path(config.filename).is_file():
        warn_of_unused(Config.fromfile(config.filename), config, KEYS_READ)


def leaf_dataset_cfgs(dataset: Mapping) -> list[Mapping]:
    """Return the configs of the datasets inside wrappers that repeat or concatenate them."""
    inner = dataset.get("datasets") or [dataset[key] for key in ("dataset",) if key in dataset]
    return [leaf for each in inner for leaf in leaf_dataset_cfgs(each)] if inner else [dataset]
