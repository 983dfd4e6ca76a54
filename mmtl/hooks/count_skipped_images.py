from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtl.datasets.load_image_from_file import LoadImageFromFile
from mmtl.registry import HOOKS


@HOOKS.register_module()
class CountSkippedImagesHook(Hook):
    """Says at the end of every epoch how many images could not be read, see :class:`mmtl.LoadImageFromFile`."""

    def __init__(self) -> None:
        self.reported = 0

    def after_train_epoch(self, runner: Runner) -> None:
        """Counts what this process and its data-loader workers left out since the last report."""
        total = sum(loader.num_skipped for loader in image_loaders(runner.train_loop.dataloader.dataset))
        if total > self.reported:
            runner.logger.warning(
                f"{total - self.reported} times in this epoch an image could not be read and another took its place; "
                "the log names them."
            )
        self.reported = total


def image_loaders(dataset: Any) -> Iterator[LoadImageFromFile]:
    """The loaders in the pipelines of a data set and of those that it wraps."""
    for step in getattr(getattr(dataset, "pipeline", None), "transforms", ()):
        if isinstance(step, LoadImageFromFile):
            yield step
    for inner in getattr(dataset, "datasets", [dataset.dataset] if hasattr(dataset, "dataset") else []):
        yield from image_loaders(inner)
