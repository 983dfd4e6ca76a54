"""Packaging hooks: configs/, tools/ and model-index.yml travel in the wheel as mmtl/.mim, and mim finds them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

MIM_ITEMS = ("configs", "tools", "model-index.yml")

FORWARD = '''"""mim 0.5 looks for tools beside a package's first recorded file: hand over to mmtl/.mim/tools."""
import os, sys
from pathlib import Path

tool = Path(__file__).resolve().parents[3] / "mmtl" / ".mim" / "tools" / Path(__file__).name
os.execv(sys.executable, [sys.executable, str(tool), *sys.argv[1:]])
'''


class BuildPyWithMim(build_py):
    """Copy what mim needs next to the package (an editable install needs no copy: mim reads the checkout)."""

    def run(self) -> None:
        """Build the package, then add the .mim folder."""
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
    """Let `mim run mmtl TOOL` find the tools of an installed wheel."""

    def write_wheelfile(self, wheelfile_base: str, *args: object, **kwargs: object) -> None:
        """Write the wheel's metadata, then a forwarder for each tool beside it."""
        super().write_wheelfile(wheelfile_base, *args, **kwargs)
        folder = Path(wheelfile_base) / ".mim" / "tools"
        folder.mkdir(parents=True, exist_ok=True)
        for tool in Path("tools").glob("*.py"):
            (folder / tool.name).write_text(FORWARD)


setup(cmdclass={"build_py": BuildPyWithMim, "bdist_wheel": WheelWithMimTools})
