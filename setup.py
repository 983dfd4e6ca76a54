"""Packaging hook: configs/, tools/ and model-index.yml travel in the wheel as mmtl/.mim, where mim looks."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MIM_ITEMS = ("configs", "tools", "model-index.yml")


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


setup(cmdclass={"build_py": BuildPyWithMim})
