"""Show the progress of a store from the sizes of its files, whatever the number of ranks."""

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
    """A column with images per second."""

    def render(self, task: Task) -> Text:
        """Return the rate as text."""
        return Text(f"{task.speed:,.1f} images/s" if task.speed else "- images/s")


class StoreProgress:
    """Count the annotated images of a store.

    Args:
        folder: folder of the store.
        record_bytes: size of a record.
    """

    def __init__(self, folder: Path, record_bytes: int) -> None:
        self.folder, self.record_bytes = folder, record_bytes
        self._complete: dict[str, int] = {}

    def count(self) -> int:
        """Return the number of images in complete shards, undecodable ones included, and in unfinished ones."""
        for path in self.folder.glob("shard-*.bin"):
            if path.name not in self._complete:
                footer = read_footer(path)
                self._complete[path.name] = footer["records"] + len(footer["undecodable"])
        return sum(self._complete.values()) + sum(map(self._unfinished, self.folder.glob("*" + TEMPORARY_SUFFIX)))

    def _unfinished(self, path: Path) -> int:
        try:
            return max(0, path.stat().st_size - HEADER_BYTES) // self.record_bytes
        except FileNotFoundError:  # just renamed to its final name
            return 0


@contextmanager
def watch_progress(folder: Path, record_bytes: int, num_images: int) -> Iterator[None]:
    """Show a progress bar with images/s and remaining time while the body runs."""
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
