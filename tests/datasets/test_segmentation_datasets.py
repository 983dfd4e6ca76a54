import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import small_segmentation_recipes as segmentation
from helpers import tiny_segmentation as tiny
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import DATASETS

FOLDERS = dict(data_prefix=dict(img_path="i", seg_map_path="a"))


@pytest.fixture
def root(tmp_path):
    for folder in ("i", "a"):
        (tmp_path / folder).mkdir()
    (tmp_path / "list.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (dict(type="mmtl.BaseSegDataset", img_suffix=".jpeg", **FOLDERS), "i (files ending in .jpeg)"),
        (dict(type="mmtl.BaseSegDataset", ann_file="list.txt", **FOLDERS), "list.txt"),
        (dict(type="mmtl.ADE20KDataset", **FOLDERS), "i (files ending in .jpg)"),
        (dict(type="mmtl.CityscapesDataset", **FOLDERS), "i (files ending in _leftImg8bit.png)"),
        (dict(type="mmtl.PascalVOCDataset", ann_file="list.txt", **FOLDERS), "list.txt"),
    ],
)
@pytest.mark.parametrize("serialize_data", [True, False])
def test_an_empty_split_is_refused_with_the_list_or_folder_searched(root, settings, named, serialize_data):
    (root / "i/1.png").write_bytes(b"has another suffix")
    with DefaultScope.overwrite_default_scope("mmseg"), pytest.raises(ValueError) as error:
        DATASETS.build(dict(settings, data_root=str(root), pipeline=[], serialize_data=serialize_data))
    assert str(error.value).startswith(f"{root}/{named}: the dataset must contain images")


def test_a_dataset_with_images_equals_mmsegmentations_own(root):
    (root / "i/1.jpg").touch()
    with DefaultScope.overwrite_default_scope("mmseg"):
        ours, theirs = (
            DATASETS.build(dict(type=f"{scope}.ADE20KDataset", data_root=str(root), pipeline=[], **FOLDERS))
            for scope in ("mmtl", "mmseg")
        )
    assert ours.metainfo == theirs.metainfo
    assert ours.get_data_info(0) == theirs.get_data_info(0)


def test_pretraining_does_not_import_mmsegmentations_datasets():
    code = "import sys, mmtl.datasets, mmtl.engine.hooks, mmtl.models; sys.exit('mmseg.datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("path", segmentation.PATHS, ids=lambda path: path.stem)
def test_every_recipe_reports_an_empty_dataset(path: Path, tmp_path: Path):
    cfg = segmentation.small_recipe(path, tmp_path)
    train = cfg.train_dataloader.dataset
    for dataset in (*train.get("datasets", [train]), cfg.val_dataloader.dataset, cfg.test_dataloader.dataset):
        for image in (tmp_path / dataset.data_prefix.img_path).rglob("*.*"):
            image.unlink()
        if dataset.get("ann_file"):
            (tmp_path / dataset.ann_file).write_text("")
        with (
            DefaultScope.overwrite_default_scope("mmseg"),
            pytest.raises(ValueError, match="must contain images"),
        ):
            DATASETS.build(dataset)


@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_classes_of_an_image_are_read_once_for_class_balanced_training(tmp_path, monkeypatch, reduce_zero_label):
    tiny.write_data(tmp_path)
    masks = sorted(tmp_path.glob("annotations/train/*.png"))
    for index, path in enumerate(masks):
        cv2.imwrite(str(path), np.array([[0, 1], [255, index]], np.uint8))
    settings = Config.fromfile(tiny.write_config(tmp_path, reduce_zero_label)).train_dataloader.dataset
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(settings)
        expected = [[0], [0], [0, 1], [0, 2]] if reduce_zero_label else [[0, 1], [0, 1], [0, 1, 2], [0, 1]]
        assert [dataset.get_cat_ids(index) for index in range(4)] == expected
        monkeypatch.setattr(dataset, "get_data_info", None)
        assert [dataset.get_cat_ids(index) for index in range(4)] == expected


def test_a_class_balanced_set_trains(tmp_path):
    tiny.write_data(tmp_path)
    labels = cv2.imread(str(tmp_path / "annotations/train/0.png"), cv2.IMREAD_UNCHANGED)
    for index in (1, 2, 3):  # one image of four has the third class
        cv2.imwrite(str(tmp_path / f"annotations/train/{index}.png"), labels.clip(0, 1))
    cfg = Config.fromfile(tiny.write_config(tmp_path))
    cfg.train_dataloader.dataset = dict(
        type="ClassBalancedDataset", oversample_thr=1.0, dataset=cfg.train_dataloader.dataset
    )
    cfg.work_dir, cfg.experiment_name = str(tmp_path / "run"), "class_balanced"
    cfg.default_hooks = dict(check_annotations=dict(type="mmtl.CheckAnnotationsHook"))
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert len(runner.train_dataloader.dataset) == 5


@pytest.mark.parametrize("palette", [[[1, 2, 3]], [[1, 2, 3]] * 4])
def test_a_palette_of_another_length_is_refused_with_both_numbers_and_none_gives_distinct_colors(root, palette):
    cv2.imwrite(str(root / "i/1.png"), np.zeros((2, 2, 3), np.uint8))
    settings = dict(type="mmtl.BaseSegDataset", data_root=str(root), img_suffix=".png", pipeline=[], **FOLDERS)
    metainfo = dict(classes=["a", "b", "c"])
    with DefaultScope.overwrite_default_scope("mmseg"):
        with pytest.raises(ValueError, match=f"palette must have 3 colors, .* got {len(palette)}"):
            DATASETS.build(dict(settings, metainfo=dict(metainfo, palette=palette)))
        drawn = DATASETS.build(dict(settings, metainfo=metainfo)).metainfo["palette"]
    assert len({tuple(color) for color in drawn}) == 3
