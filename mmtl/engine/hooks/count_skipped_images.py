from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtl.datasets.pipelines import plain_datasets, transforms_of
from mmtl.registry import HOOKS


@HOOKS.register_module()
class CountSkippedImagesHook(Hook):
    """Says at the end of every epoch how many images could not be read, see :class:`mmtl.LoadImageFromFile`."""

    def __init__(self) -> None:
        self.reported = 0

    def after_train_epoch(self, runner: Runner) -> None:
        """Counts what this process and its data-loader workers left out since the last report."""
        datasets = plain_datasets(runner.train_loop.dataloader.dataset)
        total = sum(getattr(step, "num_skipped", 0) for dataset in datasets for step in transforms_of(dataset))
        if total > self.reported:
            runner.logger.warning(
                f"{total - self.reported} times in this epoch an image could not be read and another took its place; "
                "the log names them."
            )
        self.reported = total
