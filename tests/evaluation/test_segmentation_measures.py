"""What a segmentation test measures: mIoU, and sliding windows and views compared with one pass over the image."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import small_segmentation_recipes as segmentation
from helpers.config_steps import find_step
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.models import EncoderDecoder, SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

SMALL_UPERNET = segmentation.ROOT / "configs/lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"
CLASSES = 7


def reference_miou(predictions: list[np.ndarray], truths: list[np.ndarray]) -> float:
    """Mean over the classes that occur of intersection / union in percent, label 255 counted nowhere."""
    ious = []
    for label in range(CLASSES):
        intersection = union = 0
        for prediction, truth in zip(predictions, truths, strict=True):
            is_predicted, is_true = (prediction == label) & (truth != 255), truth == label
            intersection += (is_predicted & is_true).sum()
            union += (is_predicted | is_true).sum()
        if union:
            ious.append(intersection / union)
    return 100 * float(np.mean(ious))


@pytest.mark.parametrize("absent", [None, 3])
def test_miou_equals_a_plain_reference_with_ignored_pixels(absent):
    generator = np.random.default_rng(0)
    metric = IoUMetric(iou_metrics=["mIoU"], prefix="x")
    metric.dataset_meta = dict(classes=[f"class {i}" for i in range(CLASSES)])
    predictions, truths = [], []
    for height, width in ((13, 17), (20, 9), (1, 1)):
        truth = generator.integers(0, CLASSES, (height, width))
        prediction = np.where(
            generator.random((height, width)) < 0.5, truth, generator.integers(0, CLASSES, truth.shape)
        )
        if absent is not None:
            truth[truth == absent], prediction[prediction == absent] = 0, 0
        truth[generator.random(truth.shape) < 0.2] = 255
        sample = SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(truth)[None]))
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(prediction)[None])
        metric.process({}, [sample.to_dict()])
        predictions.append(prediction)
        truths.append(truth)
    measured = metric.evaluate(size=3)["x/mIoU"]
    assert measured == pytest.approx(reference_miou(predictions, truths), abs=0.006)  # mmseg rounds to two decimals


@pytest.fixture
def small(tmp_path: Path) -> Config:
    return segmentation.small_recipe(SMALL_UPERNET, tmp_path)


def build(cfg: Config) -> EncoderDecoder:
    """The model with random weights, also in the last layer, so that classes differ."""
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(Config(dict(model=cfg.model)).model)
    model = revert_sync_batchnorm(model)
    torch.manual_seed(0)
    model.init_weights()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model.eval()


def logits(model: EncoderDecoder, mode: str, images: torch.Tensor) -> torch.Tensor:
    model.test_cfg.mode = mode
    height_width = tuple(images.shape[-2:])
    metas = [dict(img_shape=height_width, ori_shape=height_width, pad_shape=height_width) for _ in images]
    with torch.no_grad():
        return model.inference(images, metas)


def test_a_window_that_covers_the_image_equals_one_pass_over_it(small):
    model = build(small)
    for height, width in ((64, 64), (48, 64), (16, 32)):  # as large as the window, and smaller
        images = torch.randn(2, 3, height, width)
        torch.testing.assert_close(logits(model, "slide", images), logits(model, "whole", images))
    larger = torch.randn(1, 3, 64, 112)
    assert not torch.allclose(logits(model, "slide", larger), logits(model, "whole", larger), atol=0.1)


@pytest.mark.parametrize("hw", [(64, 107), (91, 75), (50, 107)])
def test_windows_are_those_of_the_unpadded_image(small, hw, monkeypatch):
    """Padded to multiples of 16 first, the last window would begin up to 15 pixels later and end in zeros."""
    model, seen = build(small), []
    extract_feat = model.extract_feat
    monkeypatch.setattr(model, "extract_feat", lambda window: seen.append(window) or extract_feat(window))
    image = torch.randint(0, 255, (3, *hw), dtype=torch.uint8)
    sample = SegDataSample(metainfo=dict(img_shape=hw, ori_shape=hw))
    with torch.no_grad():
        (result,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
        normalized = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]))["inputs"]
    last = normalized[..., max(hw[0] - 64, 0) :, max(hw[1] - 64, 0) :]
    pad = -min(hw[0], 64) % 16  # only the window that is smaller than 64 pixels
    assert torch.equal(seen[-1], torch.nn.functional.pad(last, (0, 0, 0, pad)))
    assert result.seg_logits.data.shape[1:] == hw and seen[-1].shape[2:] == (64, 64)


def test_full_images_of_any_size_are_padded_to_full_patches_and_cropped_back(small):
    model = build(small)
    image = torch.randn(1, 3, 50, 61)
    padded = torch.nn.functional.pad(image, (0, 3, 0, 14))
    torch.testing.assert_close(logits(model, "whole", image), logits(model, "whole", padded)[..., :50, :61])


def test_views_mirror_their_prediction_with_the_image(small, tmp_path):
    """Averaged over both flips, a mirrored image gives the mirrored prediction; a single pass does not."""
    single = build(small)
    views = SegTTAModel(module=single, data_preprocessor=None)
    image = np.random.default_rng(0).integers(0, 255, (8, 10, 3)).astype(np.uint8)
    image = cv2.resize(image, (80, 64))
    agreement, load = {}, dict(type="LoadImageFromFile")
    for name, model, pipeline in (
        ("single", single, [load, dict(type="PackSegInputs")]),
        ("views", views, [load, without_annotations(find_step(small.tta_pipeline, "TestTimeAug"))]),
    ):
        found = [predict(model, pipeline, view, tmp_path) for view in (image, image[:, ::-1])]
        assert found[0].shape == (64, 80) and found[0].unique().numel() > 2
        agreement[name] = (found[0] == found[1].flip(1)).float().mean()
    assert agreement["views"] > 0.97 > agreement["single"]


def without_annotations(step: dict) -> dict:
    """The views of an image without annotation."""
    return dict(step, transforms=[group for group in step["transforms"] if group[0]["type"] != "LoadAnnotations"])


def predict(model: torch.nn.Module, pipeline: list, image: np.ndarray, folder: Path) -> torch.Tensor:
    cv2.imwrite(str(folder / "image.png"), image)
    with DefaultScope.overwrite_default_scope("mmseg"), torch.no_grad():
        data = Compose(pipeline)(dict(img_path=str(folder / "image.png")))
        (sample,) = model.test_step(pseudo_collate([data]))
    return sample.pred_sem_seg.data[0]
