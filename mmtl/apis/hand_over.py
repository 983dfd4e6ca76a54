"""Hand a command over to the script of MMPretrain or MMSegmentation, whichever a config is for."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from mmtl.utils.config_file import read_config

PACKAGES = ("mmpretrain", "mmseg")
CONFIG_SUFFIXES = (".py", ".json", ".yaml", ".yml")


def upstream_script(config: Path, tool: str) -> Path:
    """Return the script ``tool``, "train" or "test", of the package that a config's ``default_scope`` names."""
    scope = read_config(config).get("default_scope")
    if scope not in PACKAGES:
        raise ValueError(
            f"{config}: default_scope must be one of {', '.join(PACKAGES)}, got {scope!r}. Set it, or inherit "
            "_base_/pretrain_runtime.py or _base_/segment_runtime.py."
        )
    return Path(find_spec(scope).origin).parent / ".mim" / "tools" / f"{tool}.py"


def hand_over(tool: str, arguments: list[str]) -> NoReturn:
    """Replace this process by the upstream script, with the same arguments; one of them is a config."""
    configs = [name for name in arguments if name.endswith(CONFIG_SUFFIXES)]
    if not configs:
        raise ValueError(f"Give a config: mim {tool} mmtl CONFIG, a file that ends in .py.")
    os.execv(sys.executable, [sys.executable, str(upstream_script(Path(configs[0]), tool)), *arguments])
