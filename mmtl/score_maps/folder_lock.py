"""One run at a time writes to a folder."""

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

_held: "weakref.WeakSet[FolderLock]" = weakref.WeakSet()


class FolderLock:
    """A lock on a folder itself, which leaves no file behind and ends with the process, however that ends.

    Args:
        folder: The folder, which exists.
        shared: Whether others may hold it too, if all of them share it: the processes of one run.

    Raises:
        FileExistsError: Another run holds it.
    """

    def __init__(self, folder: Path, shared: bool = False) -> None:
        self._folder = folder
        self._file = os.open(folder, os.O_RDONLY)
        _held.add(self)
        self._end = weakref.finalize(self, os.close, self._file)
        self._take(fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def share(self) -> None:
        """Let other processes of this run in."""
        self._take(fcntl.LOCK_SH)

    def release(self) -> None:
        """Give it back."""
        self._end()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take(self, kind: int) -> None:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise FileExistsError(
                f"Another run is writing to {self._folder}: wait for it, stop it, or give another folder."
            ) from None
        except OSError:
            pass  # some network file systems cannot lock a folder; then whoever starts two runs has to know


def _forget_in_child() -> None:
    # A forked data-loader worker shares the lock, and would keep it for some seconds after its parent is killed.
    for lock in list(_held):
        with suppress(OSError):
            lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
