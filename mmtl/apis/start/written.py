"""Which files of a folder `mmtl start` has written, and whether they have been edited since."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmtl.utils.atomic_file import atomic_file

MARKER = ".mmtl-start"  # in folders that may be written again, with the SHA-256 of each file
FILES = ("1_teacher.py", "2_student.py", "1_segmentation.py", "train.txt", "val.txt", "steps.json", "_base_/**/*.py")
FILES += ("*.pth",)  # pretrained weights


@contextmanager
def writing(out: Path, force: bool) -> Iterator[None]:
    """Check that a folder may be written, and record what the block writes into it.

    Unedited files of an earlier start that the block does not write again, such as configs of another task, are
    removed at the end. A folder that the block only marks, because it fails, is removed.

    Args:
        out: folder of the configs.
        force: whether files that have been edited may be replaced.

    Raises:
        FileExistsError: The folder has other content, or files that have been edited.
    """
    marker = out / MARKER
    if out.exists() and any(out.iterdir()) and not marker.is_file():
        raise FileExistsError(f"{out} has other content. Choose another folder with -o.")
    known, before = json.loads(marker.read_text() or "{}") if marker.is_file() else {}, digests(out)
    versions = {name: version(out / name) for name in before}
    edited = [name for name, digest in before.items() if known.get(name, digest) != digest]
    if edited and not force:
        raise FileExistsError(
            f"{out / edited[0]} has been edited since `mmtl start` wrote it. Choose another folder with -o, or add "
            "--force to replace it. For other images of the same classes, edit train.txt and val.txt there."
        )
    record(out, {})  # if the block is killed, the files of which nothing is known are its own
    try:
        yield
    except BaseException:
        written = {name: digest for name, digest in digests(out).items() if before.get(name) != digest}
        record(out, known | written)
        raise
    after = digests(out)
    kept = {name for name in after if versions.get(name) == version(out / name)}
    stale = unused(out, {name for name in kept if known.get(name) == after[name]})
    for name in stale:
        (out / name).unlink()
    record(out, {name: after[name] for name in after if name not in stale and (name in known or name not in kept)})


def version(path: Path) -> tuple[int, int]:
    """Return what changes when a file is written again, even with the same content."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def unused(out: Path, names: set[str]) -> set[str]:
    """Return the files that no other config or list of the folder names."""
    while True:
        others = (path for path in out.rglob("*") if path.suffix in (".py", ".json"))
        texts = [path.read_text(errors="replace") for path in others if path.relative_to(out).as_posix() not in names]
        used = {name for name in names if any(Path(name).name in text for text in texts)}
        if not used:
            return names
        names = names - used


def digests(out: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that may be one of `mmtl start`."""
    paths = sorted(path for pattern in FILES for path in out.glob(pattern))
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def record(out: Path, written: dict[str, str]) -> None:
    """Write the digests into the marker; remove a folder that has nothing but a marker."""
    marker = out / MARKER
    if not marker.is_file():
        return
    if next((path for path in out.iterdir() if path != marker), None):
        with atomic_file(marker) as part:
            part.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    else:
        marker.unlink()
        out.rmdir()
