"""Show the progress of a store from the sizes of its files, whatever the number of ranks."""

import os
from collections.abc import Iterable
from pathlib import Path

from rich.console import RenderableType
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
from mmtl.utils.processes import IS_STEP


class RateColumn(ProgressColumn):
    """A column with images per second."""

    def render(self, task: Task) -> Text:
        """Return the rate as text, empty until it is known."""
        return Text(f"{task.speed:,.1f} images/s" if task.speed else "")


class StoreProgress(Progress):
    """A progress bar that counts the annotated images of a store at every refresh.

    For `mmtl train FOLDER`, which shows the position of its steps, it also prints a line at every further percent.
    """

    def __init__(self, folder: Path, record_bytes: int, num_images: int) -> None:
        columns = (TextColumn("score maps"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
        self.folder, self.record_bytes = folder, record_bytes
        self._complete: dict[str, int] = {}
        self._percent = 0
        super().__init__(*columns, refresh_per_second=2)
        self.add_task("", total=num_images, completed=self.count())

    def get_renderables(self) -> Iterable[RenderableType]:
        """Count the images and yield the bar."""
        for task in self.tasks:
            self.update(task.id, completed=self.count())
            if IS_STEP in os.environ and int(task.percentage) > self._percent:
                self._percent = int(task.percentage)
                print(f"{task.completed}/{task.total} images", flush=True)
        yield from super().get_renderables()

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
