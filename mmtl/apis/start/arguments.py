"""Checks of `mmtl start` that need neither images nor torch, and so come first."""

from pathlib import Path

from mmtl.apis.start.written import MARKER
from mmtl.utils.cli import write_problem


def check_arguments(folder: Path, out: Path | None, val: float | None) -> None:
    """Raise an error unless the folder of images exists, that of the configs can be written, and the share is one."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder. Give the folder of your images.")
    if val is not None and not 0 < val < 1:
        raise ValueError(f"--val must be a share between 0 and 1, got {val}.")
    if out is not None and (problem := write_problem(out / MARKER)):
        raise ValueError(f"--out must be a folder that can be written, got {out}: {problem}. Give another folder.")
