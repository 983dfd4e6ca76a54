"""Reading of a config that says what is wrong with it."""

from pathlib import Path

from mmengine.config import Config


def read_config(path: Path) -> Config:
    """Read a config file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read as a config.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a config")
    try:
        return Config.fromfile(path)
    except (SyntaxError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path}: not a readable config: {error}") from error
