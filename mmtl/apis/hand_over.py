"""Hand a command over to the script of MMPretrain or MMSegmentation, whichever a config is for."""

import runpy
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path

import torch

from mmtl.utils import checkpoint  # noqa: F401 - importing it makes MMEngine read checkpoints without running their code
from mmtl.utils.config_file import read_config
from mmtl.utils.processes import stopped_by

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


def hand_over(tool: str, arguments: list[str]) -> None:
    """Run the upstream script with the same arguments, one of which is a config.

    Errors keep their traceback, which may be of a user's code, except for a device without free memory.
    """
    configs = [name for name in arguments if name.endswith(CONFIG_SUFFIXES)]
    if not configs:
        raise ValueError(f"Give a config: mim {tool} mmtl CONFIG, a file that ends in .py.")
    script = str(upstream_script(Path(configs[0]), tool))
    sys.argv, sys.path[0] = [script, *arguments], str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if stopped_by(error):
            raise
        traceback.print_exc()
        sys.exit(1)
