"""`tools/predict.py` tells the classes of a folder of images, and which of them are wrong."""

import csv
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from mmengine.registry import DefaultScope
from mmpretrain import ImageClassificationInferencer

PATH = ROOT / "tools" / "predict.py"
TOOL = SimpleNamespace(**runpy.run_path(str(PATH)))
CONFIG = """
default_scope = "mmpretrain"
model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(mean=[0, 0, 0], std=[255, 255, 255], to_rgb=False),
    backbone=dict(type="mmtl.LVViT", arch=dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8,
        stem_channels=None, residual_divisor=1), img_size=16, patch_size=8),
    head=dict(type="mmtl.TokenLabelHead", num_classes=3, in_channels=8),
)
test_dataloader = dict(
    dataset=dict(
        type="CustomDataset",
        pipeline=[dict(type="LoadImageFromFile"), dict(type="Resize", scale=16), dict(type="PackInputs")],
    )
)
"""
COLOURS = {"ant": 0, "bee": 1, "cat": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three class folders of two images, and a model of those classes with its checkpoint."""
    root = tmp_path_factory.mktemp("predict")
    (root / "config.py").write_text(CONFIG)
    generator = np.random.default_rng(0)
    for name in COLOURS:
        (root / "images" / name).mkdir(parents=True)
        for index in range(2):
            image = generator.integers(0, 255, (20, 24, 3), np.uint8)
            cv2.imwrite(str(root / "images" / name / f"{index}.png"), image)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = TOOL.get_model(str(root / "config.py"), pretrained=False)
    for weight in model.parameters():  # far enough apart for classes to differ
        torch.nn.init.normal_(weight, std=0.5)
    meta = dict(dataset_meta=dict(classes=tuple(COLOURS)))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), root / "model.pth")
    return root


def run(root, out, *arguments, images="images"):
    given = [root / "config.py", root / "model.pth", root / images, "-o", out, "--device", "cpu", *arguments]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        TOOL.main([str(argument) for argument in [*given, "--workers", "0"]])
    with open(out, newline="") as file:
        return list(csv.DictReader(file))


def message(root, out, *arguments, **keywords):
    """What a mistake ends with: one line, exit code 1, and no file."""
    with pytest.raises(SystemExit) as stopped:
        run(root, out, *arguments, **keywords)
    assert isinstance(stopped.value.code, str) and "\n" not in stopped.value.code
    assert not list(Path(out).parent.glob(f"{Path(out).name}*"))
    return stopped.value.code


def test_table_tells_what_mmpretrains_inferencer_predicts(root, tmp_path):
    rows = run(root, tmp_path / "all.csv", "--topk", "3", "--batch-size", "4")
    assert [row["path"] for row in rows] == [f"{name}/{index}.png" for name in COLOURS for index in range(2)]
    assert [row["label"] for row in rows] == [name for name in COLOURS for _ in range(2)]
    inferencer = ImageClassificationInferencer(str(root / "config.py"), str(root / "model.pth"), device="cpu")
    for row, result in zip(rows, inferencer([str(root / "images" / row["path"]) for row in rows]), strict=True):
        order = np.argsort(-result["pred_scores"])
        assert [row[f"class_{rank}"] for rank in (1, 2, 3)] == [list(COLOURS)[index] for index in order]
        told = [float(row[f"confidence_{rank}"]) for rank in (1, 2, 3)]
        assert told == pytest.approx(result["pred_scores"][order].tolist(), abs=1e-5)


def test_wrong_only_lists_the_images_whose_best_class_is_not_their_folder(root, tmp_path):
    rows = run(root, tmp_path / "all.csv", "--topk", "1")
    wrong = run(root, tmp_path / "wrong.csv", "--topk", "1", "--wrong-only")
    assert wrong == [row for row in rows if row["class_1"] != row["label"]]
    assert 0 < len(wrong) < len(rows)


def test_command_writes_the_table_and_lists_undecodable_images(root, tmp_path):
    images = tmp_path / "images" / "ant"
    images.mkdir(parents=True)
    (images / "0.png").write_bytes((root / "images/ant/0.png").read_bytes())
    (images / "1.png").write_bytes(b"no image")
    out = tmp_path / "new" / "table.csv"
    command = [sys.executable, PATH, root / "config.py", root / "model.pth", tmp_path / "images", "-o", out]
    result = subprocess.run([*map(str, command), "--topk", "2", "--workers", "1"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert f"cannot be decoded: {images / '1.png'}" in result.stderr
    assert result.stdout.splitlines()[-1] == f"{out}: 1 images, 1 images could not be decoded"
    assert [path.name for path in out.parent.iterdir()] == ["table.csv"]
    assert len(out.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("folders", "num_classes", "names", "found"),
    [
        (["bee", "cat"], 3, ("ant", "bee", "cat"), {"bee": 1, "cat": 2}),
        (["n01443537", "n15075141"], 1000, None, {"n01443537": 1, "n15075141": 999}),
        (["n01443537"], 1000, ["tench"] * 1000, {"n01443537": 1}),
        (["x", "y"], 2, None, {"x": 0, "y": 1}),
        (["x", "y"], 3, None, None),
        ([], 3, ("ant", "bee", "cat"), None),
    ],
)
def test_folder_is_a_class_by_name_or_by_order(folders, num_classes, names, found):
    assert TOOL.folder_classes(folders, num_classes, names) == found


def test_user_mistakes_end_with_one_message(root, tmp_path):
    out = tmp_path / "table.csv"
    for name in ("flat", "others/x", "broken/ant"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "flat" / "0.png").write_bytes((root / "images/ant/0.png").read_bytes())
    (tmp_path / "others/x/0.png").write_bytes((root / "images/ant/0.png").read_bytes())
    (tmp_path / "broken/ant/0.png").write_bytes(b"no image")
    assert "no such image folder" in message(root, out, images="gone")
    assert "the model has 3 classes" in message(root, out, "--topk", "4")
    assert "--topk 0" in message(root, out, "--topk", "0")
    for images in ("flat", "others"):
        assert "--wrong-only wants class folders" in message(
            root, out, "--topk", "1", "--wrong-only", images=tmp_path / images
        )
    assert "none of the 1 images" in message(root, out, "--topk", "1", images=tmp_path / "broken")
    torch.save({"state_dict": {"w": torch.zeros(1)}}, tmp_path / "other.pth")
    for checkpoint, wanted in (("other.pth", "does not fit the model"), ("gone.pth", "no such checkpoint")):
        with pytest.raises(SystemExit, match=wanted), DefaultScope.overwrite_default_scope("mmpretrain"):
            TOOL.main([str(root / "config.py"), str(tmp_path / checkpoint), str(root / "images"), "-o", str(out)])
    assert not out.exists()
