import runpy
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.paths import ROOT
from mmpretrain.structures import DataSample

from mmtl.score_maps import ScoreMap, ScoreMapWriter

PATH = ROOT / "tools" / "browse_samples.py"
TOOL = SimpleNamespace(**runpy.run_path(str(PATH)))

CONFIG = """
default_scope = "mmpretrain"
model = dict(
    type="mmtl.TokenLabelClassifier",
    backbone=dict(
        type="mmtl.LVViT",
        arch=dict(
            embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8, stem_channels=None, residual_divisor=1
        ),
        img_size=32,
        patch_size=8,
    ),
    head=dict(type="mmtl.TokenLabelHead", num_classes=6, in_channels=8),
    data_preprocessor=dict(to_rgb=True),
)
train_dataloader = dict(
    dataset=dict(
        type="CustomDataset",
        data_prefix="{root}/images",
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="mmtl.LoadScoreMap", store="{root}/store", image_root="{root}/images"),
            dict(type="mmtl.Resize", scale=(32, 32)),
            dict(type="mmtl.RandomFlip", prob=1.0),
            dict(type="mmtl.PackTokenLabelInputs"),
        ],
    )
)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six images, red on their left; six score maps with class 4 on their left and class 1 on their right."""
    root = tmp_path_factory.mktemp("browse")
    image = np.zeros((24, 40, 3), np.uint8)
    image[:, :20, 2] = 250
    scores, classes = np.full((4, 4, 1), 5, np.float16), np.ones((4, 4, 1), np.uint16)
    classes[:, :2] = 4
    with ScoreMapWriter(root / "store", num_classes=6, grid_hw=(4, 4), topk=1) as writer:
        for name in ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"):
            path = root / "images" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
            writer.add(f"{name}.png", ScoreMap(scores, classes))
    (root / "config.py").write_text(CONFIG.replace("{root}", root.as_posix()))
    return root


def message(*arguments):
    """What a mistake ends with: one line, exit code 1."""
    with pytest.raises(SystemExit) as stopped:
        TOOL.main([str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, str) and "\n" not in stopped.value.code
    return stopped.value.code


def test_command_draws_what_was_asked_for(root, tmp_path):
    out = tmp_path / "new" / "picture.png"
    command = [sys.executable, PATH, root / "config.py", "-n", "4", "-o", out]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{out}: 4 samples"
    assert cv2.imread(str(out)).std() > 5
    assert [path.name for path in out.parent.iterdir()] == ["picture.png"]


def test_small_data_set_is_drawn_whole(root, tmp_path):
    assert TOOL.browse(root / "config.py", tmp_path / "picture.pdf", 20) == 6


def test_picture_and_labels_are_those_of_training(root, tmp_path, monkeypatch):
    """The flip puts red and class 4 on the right; red is the last channel of the file's BGR."""
    drawn = []
    monkeypatch.setitem(TOOL.browse.__globals__, "draw", lambda samples, names: drawn.extend(samples))
    monkeypatch.setitem(TOOL.browse.__globals__, "save", lambda figure, path: None)
    TOOL.browse(root / "config.py", tmp_path / "picture.png", 6)
    for sample in drawn:
        assert sample.image[:, 20:, 0].min() > 200 and sample.image[:, :12].max() < 50
        np.testing.assert_array_equal(sample.top_class, np.repeat([[1, 1, 4, 4]], 4, axis=0))
        assert (sample.probability[:, [0, 3]] > 0.9).all() and sample.counts.all()


def test_colour_tells_the_class_and_opacity_its_probability():
    sample = TOOL.Sample(
        image=np.zeros((4, 4, 3), np.uint8),
        data=DataSample(),
        grid_hw=(2, 2),
        top_class=np.array([[3, 7], [7, -1]]),
        probability=np.array([[0.5, 1.0], [0.2, 0.1]]),
        counts=np.array([[True, True], [False, True]]),
    )
    colours = TOOL.class_colours([sample])
    assert colours.keys() == {3, 7} and colours[3] != colours[7]
    overlay = TOOL.colour_tokens(sample, colours)
    assert tuple(overlay[0, 0, :3]) == colours[3] and tuple(overlay[0, 1, :3]) == colours[7]
    assert overlay[0, 1, 3] == 2 * overlay[0, 0, 3] > 0
    assert tuple(overlay[1, 0]) == (0, 0, 0, 1) and overlay[1, 1, 3] == 0


def test_user_mistakes_end_with_one_message(root, tmp_path):
    config, out = root / "config.py", tmp_path / "picture.png"
    text = config.read_text()
    storeless, classless = tmp_path / "storeless.py", tmp_path / "labels.py"
    storeless.write_text(text.replace("/store", "/gone"))
    classless.write_text(
        text.replace("data_preprocessor=dict(", 'data_preprocessor=dict(type="mmpretrain.ClsDataPreprocessor", ')
    )
    (tmp_path / "empty.py").write_text("default_scope = 'mmpretrain'")
    assert "gone' does not exist" in message(storeless, "-o", out)
    assert "without token labels" in message(classless, "-o", out)
    assert "no train_dataloader" in message(tmp_path / "empty.py", "-o", out)
    assert "absent.py" in message(tmp_path / "absent.py", "-o", out)
    assert "at least 1" in message(config, "-n", 0, "-o", out)
    assert ".png, .jpg" in message(config, "-o", tmp_path / "picture.txt")
    assert not list(tmp_path.glob("picture*"))


def test_undecodable_image_is_named(root, tmp_path):
    broken = root / "images" / "b" / "1.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"no image")
    try:
        assert "b/1.png" in message(root / "config.py", "-o", tmp_path / "picture.png")
    finally:
        broken.write_bytes(whole)
