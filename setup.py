"""Packaging hooks that add configs/, tools/ and model-index.yml to the wheel as mmtl/.mim, where mim finds them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

MIM_ITEMS = ("configs", "tools", "model-index.yml")
# mim 0.5 takes the folder of a package's first recorded file as the package. pip sorts the records, and the command
# `mmtl` is ../../../bin/mmtl there: only names that begin with a character before the dot come first.
FIRST_FOLDER = "+mmtl"

FORWARD = '''"""Run the tool of this name in mmtl/.mim/tools: mim 0.5 looks beside a package's first recorded file."""
import os, sys
from pathlib import Path

tool = Path(__file__).resolve().parents[3] / "mmtl" / ".mim" / "tools" / Path(__file__).name
os.execv(sys.executable, [sys.executable, str(tool), *sys.argv[1:]])
'''


FORWARD_CONFIG = """# {name} in mmtl/.mim/configs: mim 0.5 looks for names beside a package's first recorded file.
_base_ = "{path}"
"""


class BuildPyWithMim(build_py):
    """Copy the files that mim reads into the package; in an editable install, mim reads the checkout."""

    def run(self) -> None:
        """Build the package, then add its .mim folder."""
        super().run()
        if self.editable_mode:
            return
        mim_dir = Path(self.build_lib) / "mmtl" / ".mim"
        for item in map(Path, MIM_ITEMS):
            target = mim_dir / item
            if item.is_dir():
                shutil.copytree(item, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(item, target)


class WheelWithMimTools(bdist_wheel):
    """Add forwarders in FIRST_FOLDER with which mim finds tools and, by name, configs of an installed wheel."""

    def write_wheelfile(self, wheelfile_base: str, *args: object, **kwargs: object) -> None:
        """Write the wheel's metadata, and a forwarder for each tool and config."""
        super().write_wheelfile(wheelfile_base, *args, **kwargs)
        folder = Path(wheelfile_base).parent / FIRST_FOLDER / ".mim" / "tools"
        folder.mkdir(parents=True, exist_ok=True)
        for tool in Path("tools").glob("*.py"):
            (folder / tool.name).write_text(FORWARD)
        for config in Path("configs").glob("[!_]*/*.py"):
            target = folder.parent / config
            target.parent.mkdir(parents=True, exist_ok=True)
            upwards = Path(*[".."] * (len(config.parts) + 1))
            target.write_text(
                FORWARD_CONFIG.format(name=config.name, path=(upwards / "mmtl/.mim" / config).as_posix())
            )


setup(cmdclass={"build_py": BuildPyWithMim, "bdist_wheel": WheelWithMimTools})
