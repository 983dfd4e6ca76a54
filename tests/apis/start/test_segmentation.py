"""`mmtl start` for images with masks: names, colors and values of the classes."""

from pathlib import Path

import numpy as np
import pytest
from helpers.start_folders import build, write_images
from mmengine.config import Config
from PIL import Image

from mmtl.apis.project import read_steps
from mmtl.apis.start.masks import FoundMasks
from mmtl.apis.start.segmentation import names_and_colors
from mmtl.apis.start.start import Wishes, start
from mmtl.cli.main import run_command

pytestmark = pytest.mark.usefixtures("offline")


def test_index_masks_are_used_and_their_classes_are_named():
    masks = np.array([0, 1, 2, 255], np.uint8)
    lines = start(write_images("scenes", (64, 48), masks), Path("out"), Wishes(device="cpu", classes=["x", "y", "z"]))
    cfg, model, train, val = build(Path("out/1_segmentation.py"))
    assert len(train) == 5 and len(val) == 1 and train.metainfo["classes"] == ("x", "y", "z")
    assert any("255 is ignored" in line for line in lines) and model.decode_head.num_classes == 3
    assert f"mmtl test out/1_segmentation.py {cfg.work_dir}/iter_" in read_steps(Path("out"))[2][1]
    sample = val[0]
    assert set(np.unique(sample["data_samples"].gt_sem_seg.data)) == {0, 1, 2, 255}
    assert all(side <= 48 and side % 16 == 0 for side in cfg.crop_size) and min(sample["inputs"].shape[1:]) == 48
    with pytest.raises(ValueError, match="--classes must have the 3 classes of the masks, got 1"):
        start(Path("scenes"), Path("out"), Wishes(device="cpu", classes=["x"]))


def test_masks_that_are_not_class_indices_are_converted_on_request():
    scenes = write_images("scenes", (64, 48), np.array([0, 255], np.uint8))
    with pytest.raises(ValueError, match="values 0, 255, which are not class indices. Add --convert"):
        start(scenes, Path("out"), Wishes(device="cpu"))
    assert not Path("out").exists()
    start(scenes, Path("out"), Wishes(device="cpu", convert=True))
    _, _, train, _ = build(Path("out/1_segmentation.py"))
    assert train.metainfo["classes"] == ("background", "foreground")
    assert set(np.unique(train.prepare_data(0)["data_samples"].gt_sem_seg.data)) <= {0, 1, 255}


def test_names_of_converted_classes_are_read_under_every_locale(monkeypatch):
    """Guards: classes.json, which is UTF-8, was read in the encoding of the locale."""
    scenes = write_images("scenes", (64, 48), np.array([0, 255], np.uint8))
    monkeypatch.setattr("io.text_encoding", lambda encoding, *_: encoding or "ascii")
    start(scenes, Path("out"), Wishes(device="cpu", convert=True, classes=("日", "é")))
    assert names_and_colors(FoundMasks("index", [0, 1]), Path("out/masks"), ())[0] == ("日", "é")


def test_a_color_that_means_no_label_is_ignored_on_request_and_black_is_named_otherwise():
    scenes = write_images("scenes", (64, 48), np.array([0, 1, 2], np.uint8))
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    with pytest.raises(ValueError, match="--ignore needs masks to convert"):
        start(scenes, Path("out"), Wishes(device="cpu", ignore="0"))
    for path in Path("scenes/masks").iterdir():
        Image.fromarray(colors[np.array(Image.open(path))]).save(path)
    with pytest.raises(ValueError, match="If a color means 'no label', also --ignore '#000000' ") as error:
        start(scenes, Path("out"), Wishes(device="cpu"))
    *rows, _, command = [line.split() for line in str(error.value).splitlines()[1:]]
    names = "'#000000=NAME,#0000ff=NAME,#ff0000=NAME'"
    assert command == ["mmtl", "start", "scenes", "-o", "out", "--convert", "--classes", names]
    assert rows == [[color, "33.3%"] for color in ("#000000", "#0000ff", "#ff0000")]
    lines = start(scenes, Path("out"), Wishes(device="cpu", convert=True))
    assert any("#000000 (black) is class 0" in line for line in lines)
    wishes = Wishes(device="cpu", convert=True, ignore="#000000", classes=["red", "blue"])  # in the wrong order
    assert "masks are converted: #0000ff is red, #ff0000 is blue" in start(scenes, Path("out"), wishes)
    lines = start(scenes, Path("out"), Wishes(device="cpu", convert=True, ignore="#000000"))
    assert not any("black" in line for line in lines) and any("255 is ignored" in line for line in lines)
    assert Config.fromfile("out/1_segmentation.py").classes == ("#0000ff", "#ff0000")
    names = ["#ff0000=car", "#0000ff=sky", "#000000=road"]
    lines = start(scenes, Path("out"), Wishes(device="cpu", convert=True, classes=names))
    assert not any("black" in line for line in lines)
    assert Config.fromfile("out/1_segmentation.py").classes == ("car", "sky", "road")


def test_a_mask_of_another_size_than_its_image_is_refused():
    scenes = write_images("scenes", (64, 48), np.array([0, 1], np.uint8))
    Image.new("L", (32, 24)).save("scenes/masks/3.png")
    with pytest.raises(ValueError, match=r"3.png: size must be 49 x 64 \(H x W\) .* got 24 x 32. Correct"):
        start(scenes, Path("out"), Wishes(device="cpu"))


def test_more_names_than_values_are_warned_of():
    scenes = write_images("scenes", (64, 48), np.array([0, 1], np.uint8))
    lines = start(scenes, Path("out"), Wishes(device="cpu", classes=["a", "b", "c", "d"]))
    assert any("WARNING: of the values 0 to 3 of classes, 2 to 3 occur nowhere" in line for line in lines)


def test_names_must_have_the_order_of_the_masks():
    scenes = write_images("scenes", (64, 48), np.array([0, 1], np.uint8))
    Path("scenes/masks/classes.json").write_text('{"classes": ["a, b", "c"]}')
    for names, given in ((["c", "a, b"], 'c, "a, b"'), (["0=c", "1=a, b"], 'c, "a, b"'), (["c", "d"], "c, d")):
        with pytest.raises(ValueError, match=f'classes.json ."a, b", c., got {given}. Omit it'):
            start(scenes, Path("out"), Wishes(device="cpu", classes=names))
    with pytest.raises(ValueError, match="--classes must have different names, got c more than once"):
        start(scenes, Path("out"), Wishes(device="cpu", classes=["c", "c"]))
    with pytest.raises(SystemExit, match="0"):
        run_command("start", ["scenes", "-o", "out", "--device", "cpu", "--classes", '"a, b", c'], "mmtl start")
    assert Config.fromfile("out/1_segmentation.py").classes == ("a, b", "c")
    lines = start(scenes, Path("out"), Wishes(device="cpu", classes=["x", "y"]))
    assert any("WARNING: classes must be the classes of the masks" in line for line in lines)


def test_options_of_masks_are_refused_for_class_folders():
    with pytest.raises(ValueError, match="--classes, --convert and --ignore need masks, got class folders: a b, c"):
        start(write_images("photos", (32, 32)), Path("out"), Wishes(device="cpu", convert=True))
