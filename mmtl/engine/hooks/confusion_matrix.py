from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmtl.evaluation.confusion_matrix import confusion_counts, draw_confusion_matrix, worst_confusions
from mmtl.registry import HOOKS

if TYPE_CHECKING:  # pretraining needs no MMSegmentation
    from mmseg.structures import SegDataSample


@HOOKS.register_module()
class ConfusionMatrixHook(Hook):
    """Draws which class is taken for which after every validation and test, and logs the worst confusions.

    The picture goes to the visualizer: ``vis_data/vis_image/confusion_matrix_STEP.png`` of the run with the local
    backend. Images without annotation do not count. On several devices the few images that the sampler repeats to give
    each the same number are counted as often as they are seen.

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
        self._count(outputs, runner.val_loop.dataloader.dataset.metainfo["classes"])

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample]
    ) -> None:
        """Count a test batch."""
        self._count(outputs, runner.test_loop.dataloader.dataset.metainfo["classes"])

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Draw the validation's matrix."""
        self._finish(runner, runner.val_loop.dataloader.dataset.metainfo["classes"], "confusion_matrix", runner.iter)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Draw the test's matrix."""
        self._finish(runner, runner.test_loop.dataloader.dataset.metainfo["classes"], "confusion_matrix_test", 0)

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
            worst = "; ".join(f"{c.truth} for {c.prediction} {c.share:.1%}" for c in worst_confusions(counts, classes))
            print_log(f"Most often taken (share of the class's pixels): {worst or 'none'}", logger="current")
            runner.visualizer.add_image(name, draw_confusion_matrix(counts, classes), step)
