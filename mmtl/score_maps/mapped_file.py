"""A memory-mapped file that detects truncation while it is in use."""

import errno
import mmap
import resource
from pathlib import Path

from mmtl.score_maps.score_map import ScoreMapStoreError


class MappedFile:
    """A read-only memory map of a file that is not empty.

    Access to a mapped page beyond the file's end kills the process (SIGBUS): call `check_size` before reading from
    `bytes`, whose slices are copies, or `view`, whose slices are views.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb", buffering=0) as file:  # the map has its own descriptor
                self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            raise OSError(error.errno, f"More than {limit} files are open (raise it: ulimit -n)", str(path)) from None
        self.view = memoryview(self.bytes)
        self._size = len(self.view)

    def check_size(self) -> None:
        """Check that the file has the size that it had when it was mapped."""
        size = self.bytes.size()  # of the file; called before every read: half the time of os.fstat
        if size != self._size:
            raise ScoreMapStoreError(
                f"{self.path} is corrupt: it had {self._size} bytes when it was opened and has {size} now."
                " Restore it, or delete it and make it again."
            )
