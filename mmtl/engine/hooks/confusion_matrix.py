from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmtl.evaluation.confusion_matrix import confusion_counts, worst_confusions
from mmtl.registry import HOOKS
from mmtl.visualization.confusion_matrix import draw_confusion_matrix

if TYPE_CHECKING:  # pretraining needs no MMSegmentation
    from mmseg.structures import SegDataSample


@HOOKS.register_module()
class ConfusionMatrixHook(Hook):
    """Draws the confusion matrix after every validation and test, and logs the largest confusions.

    The image goes to the visualizer: ``vis_data/vis_image/confusion_matrix_STEP.png`` of the run with the local
    backend. Images without annotation do not count. On several devices the images that the sampler repeats to give
    each rank the same number are counted as often as they occur.

    Args:
        draw: False switches the hook off.
        ignore_index: label without a class.
    """

    def __init__(self, draw: bool = True, ignore_index: int = 255) -> None:
        self.draw, self.ignore_index = draw, ignore_index
        self.counts: torch.Tensor | None = None  # [K, K]

    def _before_epoch(self, runner: Runner, mode: str = "train") -> None:
        self.counts = None

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample]
    ) -> None:
        """Count a validation batch."""
        self._count(outputs, class_names(runner.val_dataloader))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample]
    ) -> None:
        """Count a test batch."""
        self._count(outputs, class_names(runner.test_dataloader))

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Draw the validation's matrix."""
        self._finish(runner, class_names(runner.val_dataloader), "confusion_matrix", runner.iter)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Draw the test's matrix."""
        self._finish(runner, class_names(runner.test_dataloader), "confusion_matrix_test", 0)

    def _count(self, outputs: Sequence[SegDataSample], classes: Sequence[str]) -> None:
        for sample in outputs if self.draw else ():
            if "gt_sem_seg" not in sample:
                continue
            prediction = sample.pred_sem_seg.data
            truth = sample.gt_sem_seg.data.to(prediction.device)
            counts = confusion_counts(prediction, truth, len(classes), self.ignore_index)
            self.counts = counts if self.counts is None else self.counts + counts

    def _finish(self, runner: Runner, classes: Sequence[str], name: str, step: int) -> None:
        if self.counts is None:
            return
        all_reduce(self.counts)
        if is_main_process():
            counts = self.counts.cpu().numpy()
            worst = [f"{c.truth} as {c.prediction} {c.share:.1%}" for c in worst_confusions(counts, classes)]
            text = "; ".join(worst) or "none"
            print_log(f"Largest confusions (share of the true class's pixels): {text}", logger="current")
            runner.visualizer.add_image(name, draw_confusion_matrix(counts, classes), step)


def class_names(dataloader: torch.utils.data.DataLoader) -> Sequence[str]:
    """Return the class names of a data loader's dataset."""
    return dataloader.dataset.metainfo["classes"]
