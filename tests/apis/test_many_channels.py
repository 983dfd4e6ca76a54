"""Images of other channels and bits go from files through annotator, training and tools."""

import csv
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import tiny_segmentation as tiny
from helpers.config_steps import find_step
from helpers.paths import ROOT
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from mmtl.annotators.annotator import Inference
from mmtl.annotators.generate import Options
from mmtl.annotators.load_mmpretrain import load_mmpretrain
from mmtl.annotators.make_store import make_store, prepare_job
from mmtl.annotators.work_queue import LocalQueue
from mmtl.apis.browse_samples import browse_samples
from mmtl.apis.export_onnx import build_model
from mmtl.apis.predict import predict
from mmtl.apis.segment import segment
from mmtl.datasets.transforms import LoadImageFromFile
from mmtl.score_maps import ScoreMapStore
from mmtl.utils.read_image import decode_image, loading_options, read_image
from mmtl.visualization.rgb import rgb_of

TEMPLATE = ROOT / "configs/own_data/lvvit-nano_1xb32-tokenlabel-multiband-60e_owndata-224px.py"
ARCH = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=1)
CLASSES = ("dark", "light")
# Channels, type of the values, decoder and suffix.
KINDS = {
    "gray": (1, np.uint8, "cv2", ".png"),
    "gray16": (1, np.uint16, "cv2", ".tif"),
    "near_infrared16": (4, np.uint16, "cv2", ".png"),
    "bands16": (13, np.uint16, "tifffile", ".tif"),
    "pair_float": (2, np.float32, "tifffile", ".tif"),
}


def write(path: Path, image: np.ndarray, decoder: str, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if decoder == "cv2":
        assert cv2.imwrite(str(path), image)
    else:
        pytest.importorskip("tifffile").imwrite(path, image, **{"photometric": "minisblack"} | options)


def image_of(channels: int, dtype: type, level: float, seed: int = 0) -> np.ndarray:
    largest = 255 if dtype is np.uint8 else 9000
    noise = np.random.default_rng(seed).uniform(0, 0.2, (20, 24, channels))
    return ((level + noise) * largest).astype(dtype)


@pytest.fixture(autouse=True)
def plain_config_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Runner prints its config several times; formatting it takes longer than training."""
    monkeypatch.setattr(Config, "pretty_text", property(lambda config: repr(config.to_dict())))


@pytest.fixture(params=["gray", "near_infrared16", "bands16"])
def config(request, tmp_path) -> Path:
    """The template's config at a small size, with images, and score maps made with it."""
    channels, dtype, decoder, suffix = KINDS[request.param]
    for split in ("train", "val"):
        for level, name in enumerate(CLASSES):
            for index in range(3):
                image = image_of(channels, dtype, level / 2, index)
                write(tmp_path / split / name / f"{index}{suffix}", image, decoder, planarconfig="contig")
    cfg = Config.fromfile(TEMPLATE)
    cfg.model.backbone.update(arch=ARCH, img_size=16, patch_size=8, in_channels=channels)
    cfg.model.head.update(in_channels=12, num_classes=2)
    largest = 255.0 if dtype is np.uint8 else 9000.0
    cfg.model.data_preprocessor.update(mean=[largest / 2] * channels, std=[largest / 4] * channels)
    for split, loader in (("train", cfg.train_dataloader), ("val", cfg.val_dataloader)):
        loader.update(batch_size=2, num_workers=0)
        loader.dataset.update(data_root="", data_prefix=str(tmp_path / split), classes=CLASSES)
        find_step(loader.dataset.pipeline, "mmtl.LoadImageFromFile").imdecode_backend = decoder
    cfg.train_dataloader.collate_fn.num_classes = 2
    steps = cfg.train_dataloader.dataset.pipeline
    find_step(steps, "mmtl.LoadScoreMap").update(store=str(tmp_path / "store"), num_classes=2)
    find_step(steps, "mmtl.RandomResizedCrop").scale = 16
    find_step(cfg.val_dataloader.dataset.pipeline, "ResizeEdge").scale = 18
    find_step(cfg.val_dataloader.dataset.pipeline, "CenterCrop").crop_size = 16
    cfg.test_dataloader = cfg.val_dataloader
    cfg.train_cfg.max_epochs = 4
    cfg.param_scheduler = None
    cfg.default_hooks.token_labels.interval = 4
    cfg.update(work_dir=str(tmp_path / "run"), experiment_name=f"{request.param}_{tmp_path.name}")
    lines = (f"{name} = {value!r}\n" for name, value in cfg.to_dict().items())
    (tmp_path / "config.py").write_text("".join(lines))
    return tmp_path / "config.py"


def test_images_are_annotated_trained_on_predicted_and_drawn(config, tmp_path):
    annotator = load_mmpretrain(str(config), "random", "cpu", Inference())
    job = prepare_job(annotator, tmp_path / "train", tmp_path / "store", Options(topk=2, workers=0, batch_size=4))
    make_store(job, LocalQueue())
    assert len(ScoreMapStore(tmp_path / "store")) == 6
    runner = Runner.from_cfg(Config.fromfile(config))
    runner.train()
    losses = runner.message_hub.log_scalars["train/loss"].data[0]
    assert np.isfinite(losses).all() and list((tmp_path / "run").rglob("vis_image/token_labels*.png"))
    (checkpoint,) = (tmp_path / "run").glob("epoch_4.pth")
    rows, undecodable, *_ = predict(config, checkpoint, tmp_path / "val", tmp_path / "table.csv", topk=1, workers=0)
    assert (rows, undecodable) == (6, [])
    with open(tmp_path / "table.csv", newline="") as file:
        confidences = [float(row["confidence_1"]) for row in csv.DictReader(file)]
    expected = []
    for batch in runner.val_dataloader:
        expected += [sample.pred_score.max().item() for sample in runner.model.eval().val_step(batch)]
    np.testing.assert_allclose(sorted(confidences), sorted(expected), atol=2e-6)
    assert browse_samples(config, tmp_path / "samples.png", count=4) == 4
    cfg = Config.fromfile(config)
    assert build_model(cfg, checkpoint)(torch.zeros(1, cfg.model.backbone.in_channels, 16, 16)).shape == (1, 2)


def test_an_image_of_another_number_of_channels_is_named(config, tmp_path):
    annotator = load_mmpretrain(str(config), "random", "cpu", Inference())
    write(tmp_path / "other.png", image_of(3, np.uint8, 0), "cv2")
    annotator.loading = dict(flag="unchanged", backend="cv2")
    with pytest.raises(ValueError, match=f"other.png: .* takes images of {annotator.channels} channels, got 3"):
        annotator.resize((16, 16))(tmp_path / "other.png")


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_channels_are_loaded_as_they_are_stored(kind, tmp_path):
    channels, dtype, decoder, suffix = KINDS[kind]
    stored = image_of(channels, dtype, 0.3)
    write(tmp_path / f"a{suffix}", stored, decoder, planarconfig="contig")
    loader = LoadImageFromFile(color_type="unchanged", imdecode_backend=decoder)
    image = loader(dict(img_path=str(tmp_path / f"a{suffix}")))["img"]
    assert image.dtype == (np.uint8 if dtype is np.uint8 else np.float32)
    assert np.array_equal(image.reshape(stored.shape), stored)


@pytest.mark.parametrize("planes", ["separate", None])
def test_separate_planes_become_the_last_axis(planes, tmp_path):
    stored = image_of(13, np.uint16, 0.3)
    write(tmp_path / "a.tif", stored.transpose(2, 0, 1), "tifffile", planarconfig=planes)
    assert np.array_equal(read_image(tmp_path / "a.tif", "unchanged", "tifffile"), stored)


def test_a_missing_decoder_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(ImportError, match="pip install tifffile"):
        decode_image(b"II*\0", "unchanged", "tifffile")


@pytest.mark.skipif(find_spec("imagecodecs") is not None, reason="imagecodecs reads the file")
def test_the_missing_codec_of_a_compressed_tiff_is_named(tmp_path):
    pytest.importorskip("tifffile")
    cv2.imwrite(str(tmp_path / "lzw.tif"), image_of(4, np.uint16, 0.3))  # OpenCV compresses by LZW
    with pytest.raises(ImportError, match="LZW.*pip install imagecodecs"):
        read_image(tmp_path / "lzw.tif", "unchanged", "tifffile")


@pytest.mark.parametrize("kind", ["mmtl.LoadImageFromFile", "LoadImageFromFile", LoadImageFromFile])
def test_tools_read_images_as_the_test_pipeline_does(kind):
    steps = [dict(type=kind, color_type="unchanged", imdecode_backend="tifffile"), dict(type="PackInputs")]
    assert loading_options(steps) == dict(flag="unchanged", backend="tifffile")
    assert loading_options([dict(type=kind, imdecode_backend="pillow")]) == loading_options([]) == {}


def test_a_segmentor_of_four_channels_is_trained_and_segments_files(tmp_path):
    text = tiny.write_config(tmp_path).read_text()
    text = text.replace("bgr_to_rgb=True", "bgr_to_rgb=False").replace("[120.0] * 3", "[9e3] * 4")
    text = text.replace('type="SegDataPreProcessor"', 'type="mmtl.SegDataPreProcessor"')
    text = text.replace("[60.0] * 3", "[5e3] * 4").replace('type="mmtl.LVViT",', 'type="mmtl.LVViT", in_channels=4,')
    load = 'type="LoadImageFromFile", color_type="unchanged", imdecode_backend="cv2", to_float32=True'
    (tmp_path / "tiny.py").write_text(text.replace('type="LoadImageFromFile"', load))
    tiny.write_data(tmp_path)
    for path in (tmp_path / "images").rglob("*.png"):
        image = cv2.imread(str(path)).astype(np.uint16)
        write(path, np.dstack([image, image[..., 0] // 2]) * 90, "cv2")
    cfg = Config.fromfile(tmp_path / "tiny.py")
    cfg.update(work_dir=str(tmp_path / "run"), experiment_name=tmp_path.name)
    runner = Runner.from_cfg(cfg)
    runner.train()
    torch.save(dict(state_dict=runner.model.state_dict()), tmp_path / "weights.pth")
    out = tmp_path / "out"
    count = segment(tmp_path / "tiny.py", str(tmp_path / "weights.pth"), [tmp_path / "images/val"], out)
    assert count == (3, {})
    assert np.asarray(Image.open(out / "masks" / "0.png")).shape == (40, 56)


def test_any_image_can_be_drawn():
    bgr = np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8)
    assert np.array_equal(rgb_of(bgr), bgr[..., ::-1]) and np.array_equal(rgb_of(bgr, is_bgr=False), bgr)
    for image in (np.zeros((4, 5)), np.full((4, 5, 2), np.nan), bgr[..., :1].astype(np.float32) * 99):
        drawn = rgb_of(image.astype(np.float32))
        assert drawn.shape == (4, 5, 3) and drawn.dtype == np.uint8
    ramp = np.linspace(-5, 7000, 20, dtype=np.float32).reshape(4, 5)
    assert rgb_of(ramp)[0, 0, 0] == 0 and rgb_of(ramp)[-1, -1, 0] == 255
