"""Draw predictions of a segmentor beside the annotations while it is validated and tested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from mmtl.registry import HOOKS
from mmtl.utils.class_colors import class_palette
from mmtl.utils.read_image import read_image
from mmtl.utils.text import in_line
from mmtl.visualization.overlay import draw_comparison
from mmtl.visualization.rgb import rgb_of

if TYPE_CHECKING:  # pretraining needs no MMSegmentation
    from mmseg.structures import SegDataSample


@HOOKS.register_module()
class SegVisualizationHook(Hook):
    """Draws image, annotation and prediction side by side with the classes, and writes them with the visualizer.

    In a validation, the first image of the first batch and of every ``interval``-th after it: the same images each
    time, in ``vis_data/vis_image`` of the run. In a test, every image, but only with ``--show-dir FOLDER`` or
    ``--show``.

    Args:
        draw: False switches the hook off.
        interval: batches of a validation between images.
        show: whether a test shows each image in a window.
        wait_time: seconds between the images of a window.
        opacity: of the colors, 0 to 1.
    """

    def __init__(
        self, draw: bool = True, interval: int = 50, show: bool = False, wait_time: float = 0.0, opacity: float = 0.5
    ) -> None:
        self.draw, self.interval, self.show, self.wait_time, self.opacity = draw, interval, show, wait_time, opacity
        self.count = 0  # of images tested

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence[SegDataSample] = ()
    ) -> None:
        """Draw the first image of a batch when it is due."""
        if self.draw and batch_idx % self.interval == 0:
            sample = outputs[0]
            drawn = draw_sample(sample, runner.val_dataloader.dataset.metainfo, self.opacity)
            runner.visualizer.add_image(f"val_{Path(sample.img_path).name}", np.asarray(drawn), runner.iter)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence[SegDataSample] = ()
    ) -> None:
        """Draw each image if that was asked for."""
        if not self.draw or not (self.show or runner.cfg.get("visualizer", {}).get("save_dir")):
            return
        for sample in outputs:
            self.count += 1
            name = f"test_{Path(sample.img_path).name}"
            drawn = np.asarray(draw_sample(sample, runner.test_dataloader.dataset.metainfo, self.opacity))
            if self.show:
                runner.visualizer.show(drawn, win_name=name, wait_time=self.wait_time)
            else:
                runner.visualizer.add_image(name, drawn, self.count)


def draw_sample(sample: SegDataSample, metainfo: dict, opacity: float = 0.5) -> Image.Image:
    """Draw one prediction of a segmentor beside its annotation, if it has one; the file is read again."""
    prediction = sample.pred_sem_seg.data[0].cpu().numpy()
    truth = sample.gt_sem_seg.data[0].cpu().numpy() if "gt_sem_seg" in sample else None
    return draw_masks(sample.img_path, truth, prediction, metainfo, opacity)


def draw_masks(
    path: str, truth: np.ndarray | None, prediction: np.ndarray, metainfo: dict, opacity: float = 0.5
) -> Image.Image:
    """Draw masks [H, W] over the image of a file, or over gray if it cannot be decoded as one."""
    names = [in_line(name) for name in metainfo.get("classes") or ()]
    names += [f"class {index}" for index in range(len(names), int(prediction.max()) + 1)]
    palette = np.asarray(metainfo.get("palette") or (), np.uint8).reshape(-1, 3)
    if len(palette) < len(names):
        palette = class_palette(len(names))
    image = read_image(Path(path))
    image = np.full((*prediction.shape, 3), 128, np.uint8) if image is None else rgb_of(image)
    if image.shape[:2] != prediction.shape or (truth is not None and truth.shape != prediction.shape):
        size = prediction.shape[::-1]
        image = np.asarray(Image.fromarray(image).resize(size))
        if truth is not None:
            truth = np.asarray(Image.fromarray(truth.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
    return draw_comparison(image, truth, prediction, names, palette, opacity)
