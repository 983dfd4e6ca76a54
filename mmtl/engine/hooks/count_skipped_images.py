from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtl.datasets.dataset_parts import leaf_datasets, transforms_of
from mmtl.registry import HOOKS


@HOOKS.register_module()
class CountSkippedImagesHook(Hook):
    """Warn at the end of every epoch about images that could not be read, see :class:`mmtl.LoadImageFromFile`."""

    def __init__(self) -> None:
        self.reported = 0

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the number of images that this rank and its data-loader workers skipped since the last report."""
        datasets = leaf_datasets(runner.train_loop.dataloader.dataset)
        total = sum(getattr(step, "num_skipped", 0) for dataset in datasets for step in transforms_of(dataset))
        if total > self.reported:
            runner.logger.warning(
                f"{total - self.reported} images in this epoch could not be read and were replaced by other images. "
                "The log lists them."
            )
        self.reported = total
