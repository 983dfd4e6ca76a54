"""A memory-mapped file that notices when it is cut while it is in use."""

import mmap
import os
import weakref
from pathlib import Path

from mmtl.score_maps.score_map import ScoreMapStoreError


class MappedFile:
    """The bytes of a file, mapped and not read.

    Touching a mapped page that lies beyond the file's end kills the process (SIGBUS), so whoever reads from `bytes`
    or `view` calls `want_whole` first.

    Args:
        path: A file that is not empty.

    Attributes:
        bytes: The map; a slice is a copy.
        view: The same; a slice is a view.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self.bytes = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
        self.view = memoryview(self.bytes)
        self._size = len(self.view)

    def want_whole(self) -> None:
        """See that the file still has the size that it was mapped with.

        Raises:
            ScoreMapStoreError: It has not.
        """
        size = os.lseek(self._file, 0, os.SEEK_END)  # half the time of os.fstat, and asked before every read
        if size != self._size:
            raise ScoreMapStoreError(
                f"{self.path} is damaged: it was {self._size} bytes long when it was opened and is {size} now."
                " Restore it, or delete it and make it again."
            )
