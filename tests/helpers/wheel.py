"""A wheel of the tracked files."""

import subprocess
import sys
from pathlib import Path

from helpers.paths import ROOT


def build_wheel(folder: Path) -> Path:
    """Build a wheel from a copy of the tracked files below a folder and return its path."""
    source, out = folder / "source", folder / "wheel"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", out, source]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return wheel
