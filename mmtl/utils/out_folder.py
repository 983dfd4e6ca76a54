"""Check the folder that a tool writes, so that results of different inputs are never mixed."""

from collections.abc import Collection
from pathlib import Path

from mmtl.utils.atomic_file import TEMPORARY_SUFFIX
from mmtl.utils.cli import write_problem
from mmtl.utils.image_files import files_under, is_hidden
from mmtl.utils.text import shorten


def check_out_folder(out: Path, marker: str, names: Collection[str]) -> list[Path]:
    """Check that a folder to write is new, empty, or an earlier result that the new one replaces completely.

    Hidden files do not count.

    Args:
        out: folder to write.
        marker: file in it that only this tool writes.
        names: all files that will be written, as POSIX paths below ``out``.

    Returns:
        list[Path]: The files of the earlier result.

    Raises:
        ValueError: It is a file or below one, cannot be written, or contains other files.
    """
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"{out} must be a folder, got the file {existing}. Remove it or give another folder.")
    if problem := write_problem(out / marker):
        raise ValueError(f"{out} must be a folder that can be written, got {problem}. Give another folder.")
    old = sorted(name for name in files_under(out) if not is_hidden(name)) if out.exists() else []
    names = set(names)
    others = [name for name in old if name not in names and not name.endswith(TEMPORARY_SUFFIX)]
    if old and marker not in old:
        others = old
    if others:
        raise ValueError(
            f"{out} must be a new or empty folder, got one with {shorten(others, 3)}, which would stay or be lost. "
            "Remove it or give another."
        )
    return [out / name for name in old]
