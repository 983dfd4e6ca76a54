"""A memory-mapped file that detects truncation while it is in use."""

import mmap
import os
import weakref
from pathlib import Path

from mmtl.score_maps.score_map import ScoreMapStoreError


class MappedFile:
    """A read-only memory map of a file that is not empty.

    Access to a mapped page beyond the file's end kills the process (SIGBUS): call `check_size` before reading from
    `bytes`, whose slices are copies, or `view`, whose slices are views.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self.bytes = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
        self.view = memoryview(self.bytes)
        self._size = len(self.view)

    def check_size(self) -> None:
        """Check that the file has the size that it had when it was mapped."""
        size = os.lseek(self._file, 0, os.SEEK_END)  # called before every read: half the time of os.fstat
        if size != self._size:
            raise ScoreMapStoreError(
                f"{self.path} is corrupt: it had {self._size} bytes when it was opened and has {size} now."
                " Restore it, or delete it and make it again."
            )
