"""The worst images of a test: by cross-entropy of classes, by IoU of masks."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample

from mmtl.engine.hooks import WorstImagesHook
from mmtl.engine.hooks.worst_images import image_iou, rate_image


def predicted(path: Path, label: int, scores: list[float]) -> DataSample:
    cv2.imwrite(str(path), np.full((8, 8, 3), 90, np.uint8))
    sample = DataSample(metainfo=dict(img_path=str(path)))
    return sample.set_gt_label(label).set_pred_score(torch.tensor(scores))


def test_images_with_the_largest_loss_are_written_once_in_order(tmp_path, capsys):
    losses = dict(a=[0.9, 0.1], b=[0.2, 0.8], c=[0.0, 1.0], d=[0.6, 0.4])
    samples = [predicted(tmp_path / f"{name}.png", 0, scores) for name, scores in losses.items()]
    dataset = SimpleNamespace(metainfo=dict(classes=["cat", "=dog"]))
    logger = MMLogger(tmp_path.name, logger_name=tmp_path.name)
    runner = SimpleNamespace(
        _log_dir=tmp_path / "log", logger=logger, test_dataloader=SimpleNamespace(dataset=dataset)
    )
    hook = WorstImagesHook(count=3)
    hook.before_test_epoch(runner)
    for batch in (samples[:2], samples[2:], samples[:2]):  # a sampler may repeat images
        hook.after_test_iter(runner, 0, outputs=batch)
    hook.after_test_epoch(runner)
    hook.after_test(runner)
    assert f"worst images (3) and their table are in {tmp_path / 'log/worst_images'}" in capsys.readouterr().out
    rows = (tmp_path / "log/worst_images/worst_images.csv").read_text().splitlines()
    assert [Path(row.split(",")[0]).stem for row in rows[1:]] == ["c", "b", "d"]
    assert rows[2].split(",")[1:] == ["1.6094", "cat", "'=dog"]
    assert cv2.imread(str(tmp_path / "log/worst_images/worst_images.png")).std() > 5


def test_iou_of_an_image_is_the_mean_over_its_classes_without_ignored_pixels():
    truth, prediction = torch.tensor([[0, 0, 1, 255]]), torch.tensor([[0, 1, 1, 5]])
    assert image_iou(truth, prediction) == pytest.approx(0.5)
    assert image_iou(torch.full((1, 4), 255), prediction) == 1.0
    assert image_iou(prediction, prediction) == 1.0


def test_images_without_a_label_do_not_count():
    assert rate_image(DataSample(pred_score=torch.ones(2)), 255) is None
    assert rate_image(DataSample(pred_sem_seg=PixelData(data=torch.ones(1, 2, 2))), 255) is None


def test_a_count_must_be_positive():
    with pytest.raises(ValueError, match="--worst.* must be at least 1, got 0"):
        WorstImagesHook(count=0)
