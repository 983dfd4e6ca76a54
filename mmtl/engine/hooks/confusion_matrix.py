from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmtl.evaluation.confusion_matrix import classes_without_iou, confusion_counts, worst_confusions
from mmtl.registry import HOOKS
from mmtl.utils.text import in_line
from mmtl.visualization.confusion_matrix import draw_confusion_matrix

if TYPE_CHECKING:  # pretraining needs no MMSegmentation
    from mmseg.structures import SegDataSample


@HOOKS.register_module()
class ConfusionMatrixHook(Hook):
    """Draws the confusion matrix after every validation and test, and logs the largest confusions.

    The image goes to the visualizer: ``vis_data/vis_image/confusion_matrix_STEP.png`` of the run with the local
    backend. Images without annotation do not count; images that the sampler repeats to give each rank the same number
    count as often as they occur.

    Args:
        draw: False switches the hook off.
        ignore_index: label without a class.
    """

    def __init__(self, draw: bool = True, ignore_index: int = 255) -> None:
        self.draw, self.ignore_index = draw, ignore_index
        self.counts: torch.Tensor | None = None  # [K, K]

    def _before_epoch(self, runner: Runner, mode: str = "train") -> None:
        self.counts = None

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] = (),
        mode: str = "train",
    ) -> None:
        """Count the pixels of a validation or test batch."""
        for sample in outputs if self.draw and mode != "train" else ():
            if "gt_sem_seg" in sample:
                prediction = sample.pred_sem_seg.data
                truth = sample.gt_sem_seg.data.to(prediction.device)
                counts = confusion_counts(prediction, truth, len(class_names(runner, mode)), self.ignore_index)
                self.counts = counts if self.counts is None else self.counts + counts

    def _after_epoch(self, runner: Runner, mode: str = "train") -> None:
        """Draw the matrix of a validation or test."""
        if self.counts is None or mode == "train":
            return
        all_reduce(self.counts)
        if is_main_process():
            counts, classes = self.counts.cpu().numpy(), class_names(runner, mode)
            worst = [f"{c.truth} as {c.prediction} {c.share:.1%}" for c in worst_confusions(counts, classes)]
            text = in_line("; ".join(worst)) or "none"
            print_log(f"Largest confusions (share of the true class's pixels): {text}", logger="current")
            name, step = ("confusion_matrix_test", 0) if mode == "test" else ("confusion_matrix", runner.iter)
            zero, known = classes_without_iou(counts)
            if zero and mode == "val":  # of which `mmtl.apis.run_logs.result_of` reports the last
                scalars = {"classes_with_iou_0": zero, "classes_with_iou": known}
                runner.visualizer.add_scalars(scalars, runner.iter)
            if zero:
                print_log(f"{zero} of {known} classes have IoU 0", logger="current")
            runner.visualizer.add_image(name, draw_confusion_matrix(counts, classes), step)


def class_names(runner: Runner, mode: str) -> Sequence[str]:
    """Return the class names of the dataset for validation (``val``) or test."""
    return getattr(runner, f"{mode}_dataloader").dataset.metainfo["classes"]
