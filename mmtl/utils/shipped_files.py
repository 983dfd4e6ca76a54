"""Files that come with mmtl beside its modules: configs, tools."""

from pathlib import Path

from mmtl.utils.text import shorten


def shipped_folder(name: str) -> Path:
    """Return a folder such as "configs": of a checkout, or of an installed wheel, which keeps it in ``.mim``."""
    package = Path(__file__).resolve().parents[1]
    installed = package / ".mim" / name
    return installed if installed.is_dir() else package.parent / name


def shipped_configs() -> dict[str, Path]:
    """Return the configs that a user can run by name, which is the file name without suffix."""
    paths = sorted(shipped_folder("configs").glob("[!_]*/*.py"))
    return {path.stem: path for path in paths}


def find_config(name: str | Path) -> Path:
    """Return a config file: an existing file, or one of mmtl's by its name, with or without suffix and folder.

    Raises:
        FileNotFoundError: There is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    found = shipped_configs().get(path.name.removesuffix(".py"))
    if found is None and path.is_dir():
        configs = shorten(sorted(path.glob("*.py")), 3)
        remedy = f"Give one of its configs: {configs}." if configs else "It contains no config. Give a config."
        raise FileNotFoundError(f"{name} must be a config, got a folder. {remedy}")
    if found is None:
        kind = "file" if path.suffix == ".py" else "folder or config"
        raise FileNotFoundError(
            f"{name}: no such {kind}. `mmtl start FOLDER` writes a folder of configs; `mmtl list` shows those of mmtl."
        )
    return found
