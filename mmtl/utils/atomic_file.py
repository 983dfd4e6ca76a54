"""Write files atomically: under a temporary name, renamed when complete."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY_SUFFIX = ".part"
MAX_NAME_BYTES = 255  # of a file name on Linux's and most other file systems


def temporary_path(path: Path) -> Path:
    """Return the name beside ``path`` to write to; fixed, so that what a killed run leaves is overwritten."""
    name = os.fsencode(path.name + TEMPORARY_SUFFIX)
    if len(name) > MAX_NAME_BYTES:
        name = f"{hashlib.sha256(name).hexdigest()}{TEMPORARY_SUFFIX}".encode()
    return path.with_name(os.fsdecode(name))


@contextmanager
def atomic_file(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to ``path`` at the end, or remove it on an error.

    Args:
        path: The file to write; its folder is created. An existing file stays intact until the rename. A link is
            followed. What is not a regular file, such as a device or a pipe, is written into, not replaced.
        durable: Whether to sync the file and its folder, so that the result survives a power failure.

    Raises:
        OSError: The file cannot be written, or ``path`` is a folder.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        with _copied_into(path) as temporary:
            yield temporary
        return
    path = Path(os.path.realpath(path))
    if path.is_symlink():
        raise OSError(errno.ELOOP, "The link leads to itself. Remove it, or give another file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with name_disk_errors(temporary):
            yield temporary
            if durable:
                _sync(temporary)
        os.replace(temporary, path)
        if durable:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _copied_into(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose content is written into a device or pipe at the end."""
    with tempfile.TemporaryDirectory() as folder, name_disk_errors(path):
        yield Path(folder, path.name)
        with Path(folder, path.name).open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file atomically and sync it."""
    with atomic_file(path, durable=True) as temporary:
        temporary.write_bytes(content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def name_disk_errors(path: Path) -> Iterator[None]:
    """Add the file's name, which Python omits when a write fails, and the remedy to an OSError."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = " (free disk space and run the same command again)" if full else ""
        raise OSError(error.errno, f"{error.strerror}{advice}", str(path)) from None
