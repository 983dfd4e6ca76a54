"""Reading of config files with errors that name the file."""

from pathlib import Path

from mmengine.config import Config


def read_config(path: Path, cfg_options: dict | None = None) -> Config:
    """Read a config file and override values in it by dotted key."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file. Give a config.")
    try:
        config = Config.fromfile(path)
    except (SyntaxError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a config: {error}") from error
    config.merge_from_dict(cfg_options or {})
    return config
