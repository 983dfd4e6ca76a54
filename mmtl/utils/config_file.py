"""Reading of config files with errors that name the file."""

from pathlib import Path

from mmengine.config import Config


def read_config(path: Path, cfg_options: dict | None = None) -> Config:
    """Read a config file and override values in it by dotted key."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file. Give a config.")
    try:
        config = Config.fromfile(path)
        config.merge_from_dict(cfg_options or {})
    except Exception as error:  # a config is a program: any error can be its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read as a config: {type(error).__name__}: {reason}") from error
    return config
