"""A lock that lets one run at a time write to a folder."""

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

_held: "weakref.WeakSet[FolderLock]" = weakref.WeakSet()


class FolderLock:
    """A lock on the folder itself: it leaves no file behind and ends with the process, however the process ends.

    Args:
        folder: An existing folder.
        shared: Whether others may hold the lock too if all of them share it: the ranks of one run.

    Raises:
        FileExistsError: Another run holds the lock.
    """

    def __init__(self, folder: Path, shared: bool = False) -> None:
        self._folder = folder
        self._file = os.open(folder, os.O_RDONLY)
        self.release = weakref.finalize(self, os.close, self._file)  # closes the file once
        _held.add(self)
        self._acquire(fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def share(self) -> None:
        """Let other ranks of this run hold the lock too."""
        self._acquire(fcntl.LOCK_SH)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _acquire(self, kind: int) -> None:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise FileExistsError(
                f"Another run is writing to {self._folder}. Wait for it, stop it, or give another folder."
            ) from None
        except OSError:
            pass  # some network file systems cannot lock a folder; there the user must not start two runs


def _release_in_child() -> None:
    # A forked data-loader worker shares the lock and would hold it for some seconds after its parent is killed.
    for lock in list(_held):
        with suppress(OSError):
            lock.release()


os.register_at_fork(after_in_child=_release_in_child)
