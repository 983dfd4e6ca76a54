"""Progress of a store in the making, read off the sizes of its files: one view for any number of processes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mmtl.score_maps.shard import HEADER_BYTES, read_footer
from mmtl.utils.atomic_file import TEMPORARY_SUFFIX

POLL_SECONDS = 0.5


class RateColumn(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        return Text(f"{task.speed:,.1f} images/s" if task.speed else "- images/s")


class StoreProgress:
    """Counts the images that are done.

    Args:
        folder: Folder of the store.
        record_bytes: Size of a record.
    """

    def __init__(self, folder: Path, record_bytes: int) -> None:
        self.folder, self.record_bytes = folder, record_bytes
        self._whole: dict[str, int] = {}

    def count(self) -> int:
        """Images in whole shards (undecodable ones are done too) and in those being written."""
        for path in self.folder.glob("shard-*.bin"):
            if path.name not in self._whole:
                footer = read_footer(path)
                self._whole[path.name] = footer["records"] + len(footer["undecodable"])
        return sum(self._whole.values()) + sum(map(self._in_hand, self.folder.glob("*" + TEMPORARY_SUFFIX)))

    def _in_hand(self, path: Path) -> int:
        try:
            return max(0, path.stat().st_size - HEADER_BYTES) // self.record_bytes
        except FileNotFoundError:  # it has just become a shard
            return 0


@contextmanager
def watch_progress(folder: Path, record_bytes: int, num_images: int) -> Iterator[None]:
    """Show a progress bar with images/s and time left while the body runs."""
    counter = StoreProgress(folder, record_bytes)
    columns = (TextColumn("score maps"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("", total=num_images, completed=counter.count())
        done = threading.Event()

        def poll() -> None:
            while not done.wait(POLL_SECONDS):
                progress.update(task, completed=counter.count())

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            progress.update(task, completed=counter.count())
