import logging
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.registry import HOOKS, init_default_scope
from mmpretrain.registry import DATASETS, TRANSFORMS
from torch.utils.data import DataLoader

IMAGES, BAD = 12, (3, 7, 8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twelve JPEGs of three classes; its brightness encodes its number."""
    generator = np.random.default_rng(0)
    for index in range(IMAGES):
        path = tmp_path / f"class_{index % 3}" / f"{index:02d}.jpg"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), generator.normal(20 * index, 3, (64, 64, 3)).clip(0, 255).astype(np.uint8))
    return tmp_path


def path_of(folder: Path, index: int) -> Path:
    return folder / f"class_{index % 3}" / f"{index:02d}.jpg"


def spoil(folder: Path) -> None:
    """One image cut in the middle, one that is no image, one empty."""
    complete = path_of(folder, BAD[0]).read_bytes()
    for index, data in zip(BAD, (complete[: len(complete) // 2], b"not an image", b""), strict=True):
        path_of(folder, index).write_bytes(data)


def load(path: Path, **options: object) -> dict | None:
    return TRANSFORMS.build(dict(type="mmtl.LoadImageFromFile", **options))(dict(img_path=str(path)))


def build_dataset(folder: Path, unreadable: str):
    init_default_scope("mmpretrain")
    pipeline = [dict(type="mmtl.LoadImageFromFile", unreadable=unreadable), dict(type="PackInputs")]
    return DATASETS.build(dict(type="CustomDataset", data_root=str(folder), pipeline=pipeline))


def test_good_image_is_loaded_as_mmcv_loads_it(folder):
    path = path_of(folder, 5)
    ours, mmcvs = load(path), TRANSFORMS.build(dict(type="LoadImageFromFile"))(dict(img_path=str(path)))
    assert ours.keys() == mmcvs.keys() and ours["img_shape"] == mmcvs["img_shape"] == ours["ori_shape"]
    np.testing.assert_array_equal(ours["img"], mmcvs["img"])


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(folder):
    path = path_of(folder, 5)
    image = load(path)["img"]
    path.write_bytes(path.read_bytes() + b"a camera's maker note" * 20)
    np.testing.assert_array_equal(load(path)["img"], image)


@pytest.mark.parametrize("index", [*BAD, "missing"])
def test_stop_names_the_image_and_the_remedy(folder, index):
    spoil(folder)
    path = folder / "none.jpg" if index == "missing" else path_of(folder, index)
    with pytest.raises(ValueError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message and "unreadable='skip'" in message and "\n" not in message


@pytest.mark.parametrize("workers", [0, 3])
def test_skip_replaces_counts_and_reports(folder, workers, caplog):
    spoil(folder)
    dataset = build_dataset(folder, "skip")
    loader = DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=lambda batch: batch[0])
    paths = [sample["data_samples"].img_path for sample in loader]
    bad = {str(path_of(folder, index)) for index in BAD}
    assert len(paths) == IMAGES and not bad & set(paths)
    skipped = dataset.pipeline.transforms[0].num_skipped
    assert skipped >= len(BAD)  # the one drawn instead may be bad too
    hook = HOOKS.build(dict(type="mmtl.CountSkippedImagesHook"))
    runner = SimpleNamespace(
        train_loop=SimpleNamespace(dataloader=SimpleNamespace(dataset=SimpleNamespace(dataset=dataset))),
        logger=logging.getLogger("run"),
    )
    hook.after_train_epoch(runner)
    hook.after_train_epoch(runner)  # nothing new, no message
    assert [record.message.split()[0] for record in caplog.records if record.name == "run"] == [str(skipped)]


def test_unknown_option_is_refused():
    with pytest.raises(ValueError, match="'stop' or 'skip', got 'ignore'"):
        TRANSFORMS.build(dict(type="mmtl.LoadImageFromFile", unreadable="ignore"))
