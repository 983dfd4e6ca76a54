import errno
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.paths import ROOT
from mmengine.config import Config

from mmtl.demo import dataset, scenes
from mmtl.demo.dataset import Settings, make_demo_data
from mmtl.demo.scenes import CLASSES, SHAPES, TEXTURES, draw_scene


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "demo"
    make_demo_data(out, Settings(num_train=24, num_val=8))
    return out


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}


def gray(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def test_the_label_is_the_object_that_dominates_by_visible_pixels(synthetic):
    paths = list((synthetic / "classification").rglob("*.png"))
    assert len(paths) == 32
    for path in paths:
        split = dataset.SPLITS[path.parts[-3]]
        mask = gray(synthetic / "segmentation/annotations" / split / path.name)
        visible = np.bincount(mask.ravel(), minlength=len(CLASSES) + 1)[1:]
        assert CLASSES[visible.argmax()] == path.parent.name
        second, first = np.sort(visible)[-2:]
        assert first >= scenes.DOMINANCE * second > 0  # there are other classes in the image, too


def test_both_layouts_hold_the_same_images(synthetic):
    by_class = {path.name: path.read_bytes() for path in (synthetic / "classification").rglob("*.png")}
    flat = {path.name: path.read_bytes() for path in (synthetic / "segmentation/images").rglob("*.png")}
    assert by_class == flat and len(flat) == 32
    assert sorted(p.name for p in (synthetic / "classification/train").iterdir()) == CLASSES


def test_a_seed_gives_the_same_bytes_and_a_larger_dataset_begins_with_a_smaller_one(synthetic, tmp_path):
    make_demo_data(tmp_path / "again", Settings(num_train=8, num_val=8))
    smaller, larger = contents(tmp_path / "again"), contents(synthetic)
    assert smaller.items() <= larger.items()
    make_demo_data(tmp_path / "other", Settings(num_train=8, num_val=8, seed=1))
    assert not any(smaller[name] == image for name, image in contents(tmp_path / "other").items() if name in smaller)


def test_the_mask_is_exact_to_the_pixel(monkeypatch):
    # On a black background and without the final noise, the colored pixels are those of the mask.
    monkeypatch.setattr(scenes, "draw_background", lambda rng, h, w: np.zeros((h, w, 3)))
    monkeypatch.setattr(scenes, "NOISE", 0.0)
    for label in range(len(CLASSES)):
        scene = draw_scene(np.random.default_rng(label), label, 64, 80)
        assert np.array_equal(scene.image.any(-1), scene.mask > 0)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("disc", np.pi),
        ("ring", np.pi * (1.05**2 - 0.51**2)),
        ("cross", 2 * 2.2 * 0.8 - 0.8**2),
        ("triangle", 3 * np.sqrt(3) * 0.65**2),
    ],
)
def test_a_rotated_shape_keeps_its_area(shape, area):
    grid = np.meshgrid(np.arange(300) + 0.5, np.arange(200) + 0.5)
    for angle in (0.0, 0.7, 2.5):
        inside = SHAPES[shape](*scenes.local_coordinates(grid, (150.3, 99.8), angle, unit=50.0))
        assert inside.sum() == pytest.approx(area * 50**2, rel=0.02)


def test_classes_differ_in_their_texture_and_every_shape_occurs_twice():
    textures, shapes = zip(*(name.split("-") for name in CLASSES), strict=True)
    assert len(set(textures)) == len(CLASSES) == 8
    assert {shapes.count(shape) for shape in SHAPES} == {2}


def test_no_texture_equals_another_or_its_negative():
    x, y = np.meshgrid(np.arange(0.005, 3, 0.01), np.arange(0.005, 3, 0.01))
    patterns = [np.asarray(texture(x, y)).astype(bool) for texture in TEXTURES.values()]
    for index, pattern in enumerate(patterns):
        for other in patterns[:index]:
            assert 0.05 < (pattern ^ other).mean() < 0.95


def test_the_configs_name_the_same_classes():
    segmentation = Config.fromfile(ROOT / "configs/_base_/datasets/demo_segmentation.py")
    assert list(segmentation.metainfo.classes)[1:] == CLASSES
    assert len(segmentation.metainfo.palette) == segmentation.num_classes == len(CLASSES) + 1
    assert Config.fromfile(ROOT / "configs/_base_/datasets/demo_classification.py").num_classes == len(CLASSES)


def test_the_tool_makes_a_dataset_once_and_reports_errors(tmp_path):
    def run(*options: str) -> subprocess.CompletedProcess:
        command = [sys.executable, ROOT / "tools/make_demo_data.py", "demo", "--num-train", "8", "--num-val", "8"]
        return subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)

    assert run().stdout == "demo: 8 training and 8 validation images made\n"
    assert "already exist" in run().stdout
    refused = run("--seed", "3")
    assert refused.returncode == 1
    assert refused.stderr.startswith("make_demo_data: demo was made with other settings")


def test_a_second_call_does_not_change_the_dataset(synthetic):
    before = {path: path.stat().st_mtime_ns for path in synthetic.rglob("*")}
    assert not make_demo_data(synthetic, Settings(num_train=24, num_val=8))
    assert {path: path.stat().st_mtime_ns for path in synthetic.rglob("*")} == before


def test_a_folder_with_other_content_is_not_changed(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="must be a new folder or a demo dataset"):
        make_demo_data(tmp_path, Settings())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("name", "value"), [("num_train", 3), ("num_val", 0), ("height", 8), ("seed", -1)])
def test_a_setting_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least .*, got {value}"):
        Settings(**{name: value})


def test_an_interrupted_run_leaves_no_dataset_and_can_be_repeated(tmp_path, monkeypatch):
    settings = Settings(num_train=8, num_val=8)
    count = iter(range(5))

    def interrupted(*arguments: object) -> scenes.Scene:
        if next(count, None) is None:
            raise KeyboardInterrupt
        return draw_scene(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "draw_scene", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_demo_data(tmp_path / "demo", settings)
    assert not (tmp_path / "demo").exists()
    assert make_demo_data(tmp_path / "demo", settings)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_full_disk_is_named_and_leaves_no_draft(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mmtl.demo.dataset.write_split", full)
    with pytest.raises(OSError, match=r"free disk space.*demo\.part"):
        make_demo_data(tmp_path / "demo", Settings())
    assert not list(tmp_path.iterdir())
