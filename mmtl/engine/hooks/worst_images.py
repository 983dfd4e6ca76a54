"""Find the images that a model predicts worst in a test, and draw them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmtl.engine.hooks.seg_visualization import draw_masks
from mmtl.evaluation.confusion_matrix import confusion_counts
from mmtl.registry import HOOKS
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.read_image import read_image
from mmtl.utils.text import csv_cell
from mmtl.visualization.colors import class_name
from mmtl.visualization.figures import POINTS, save_figure
from mmtl.visualization.rgb import rgb_of

COLUMNS = 5  # of the figure of a classifier's images
FOLDER = "worst_images"


class Tested(NamedTuple):
    """A tested image: how bad its prediction is, and what a figure of it needs."""

    loss: float  # cross-entropy of a classifier, 1 - mean IoU of a segmentor
    path: str
    labels: tuple[int, int] | None  # true and predicted class of a classifier
    masks: tuple[np.ndarray, np.ndarray] | None  # annotation and prediction of a segmentor


@HOOKS.register_module()
class WorstImagesHook(Hook):
    """Writes the worst images of a test to ``worst_images`` in the folder of the log, with a table.

    `mmtl test ... --worst 20` adds it. The worst images of a classifier have the largest cross-entropy, those of a
    segmentor the smallest IoU, the mean over the classes that annotation or prediction of this image have.

    Args:
        count: number of images.
        ignore_index: label of an annotation without a class.
    """

    def __init__(self, count: int = 20, ignore_index: int = 255) -> None:
        if count < 1:
            raise ValueError(f"count of WorstImagesHook (--worst) must be at least 1, got {count}.")
        self.count, self.ignore_index = count, ignore_index
        self.worst: list[Tested] = []
        self.folder: Path | None = None

    def before_test_epoch(self, runner: Runner) -> None:
        """Forget the images of an earlier test."""
        self.worst = []

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence[BaseDataElement] = ()
    ) -> None:
        """Keep the worst images so far."""
        found = (rate_image(sample, self.ignore_index) for sample in outputs)
        self.worst = self._worst_of([*self.worst, *(each for each in found if each is not None)])

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Write the worst images of all ranks."""
        self.worst = self._worst_of([each for rank in all_gather_object(self.worst) for each in rank])
        if is_main_process() and self.worst:
            self.folder = Path(runner._log_dir) / FOLDER
            write_images(self.folder, self.worst, runner.test_dataloader.dataset.metainfo)

    def after_test(self, runner: Runner) -> None:
        """Log the folder, after the results."""
        if self.folder is not None:
            runner.logger.info(f"The worst images ({len(self.worst)}) and their table are in {self.folder}.")

    def _worst_of(self, tested: Sequence[Tested]) -> list[Tested]:
        unique = {each.path: each for each in tested}  # samplers repeat images to give each rank as many
        return sorted(unique.values(), key=lambda each: (-each.loss, each.path))[: self.count]


def rate_image(sample: BaseDataElement, ignore_index: int) -> Tested | None:
    """Return how bad a prediction is, None without a label to compare it with."""
    if "pred_sem_seg" in sample:
        if "gt_sem_seg" not in sample:
            return None
        truth, prediction = (sample.get(name).data[0].cpu() for name in ("gt_sem_seg", "pred_sem_seg"))
        masks = tuple(mask.numpy().astype(np.uint8) for mask in (truth, prediction))
        return Tested(1 - image_iou(truth, prediction, ignore_index), sample.img_path, None, masks)
    scores, label = sample.get("pred_score"), sample.get("gt_label")
    if scores is None or label is None or label.numel() != 1:
        return None
    loss = -scores[int(label)].clamp_min(torch.finfo(torch.float32).tiny).log()
    return Tested(float(loss), str(sample.get("img_path")), (int(label), int(scores.argmax())), None)


def image_iou(truth: Tensor, prediction: Tensor, ignore_index: int = 255) -> float:
    """Return the mean IoU of the classes of an annotation and a prediction [H, W]; 1 if every pixel is ignored."""
    valid = truth[truth != ignore_index]
    num_classes = int(max(prediction.max(), valid.max() if len(valid) else 0)) + 1
    counts = confusion_counts(prediction, truth, num_classes, ignore_index).double()
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    present = union > 0
    return float((counts.diagonal()[present] / union[present]).mean()) if present.any() else 1.0


def write_images(folder: Path, worst: Sequence[Tested], metainfo: dict) -> None:
    """Write a table of the images, and a figure of each segmentation or one of all classified images."""
    folder.mkdir(parents=True, exist_ok=True)
    names, rows = metainfo.get("classes"), []
    for rank, each in enumerate(worst, 1):
        if each.masks:
            with atomic_file(folder / f"{rank:03}_{Path(each.path).stem[:60]}.png") as part:
                draw_masks(each.path, *each.masks, metainfo).save(part, "PNG")
        shown = f"{1 - each.loss:.4f}" if each.masks else f"{each.loss:.4f}"
        labels = [csv_cell(class_name(label, names, 100)) for label in each.labels or ()]
        rows.append([csv_cell(each.path), shown, *labels])
    header = ["image", "mean IoU"] if worst[0].masks else ["image", "cross-entropy", "true class", "predicted class"]
    with atomic_file(folder / "worst_images.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    if worst[0].labels:
        save_figure(draw_images(worst, names), folder / "worst_images.png")


def draw_images(worst: Sequence[Tested], names: Sequence[str] | None) -> Figure:
    """Draw classified images with true and predicted class."""
    rows = -(-len(worst) // COLUMNS)
    figure = Figure((2.6 * COLUMNS, 3.2 * rows), dpi=100, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axes in panels:
        axes.set_axis_off()
    for axes, each in zip(figure.axes, worst, strict=False):
        image = read_image(Path(each.path))
        if image is not None:
            axes.imshow(rgb_of(image))
        truth, predicted = (class_name(label, names) for label in each.labels)
        text = f"true {truth}\npredicted {predicted}\ncross-entropy {each.loss:.2f}"
        axes.set_title(text, fontsize=POINTS)
    return figure
