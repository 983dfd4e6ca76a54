import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.paths import ROOT
from mmengine.config import Config


@pytest.fixture(scope="module")
def tool():
    # Dataclasses look their module up by name.
    sys.modules["make_demo_data"] = module = SimpleNamespace()
    module.__dict__.update(runpy.run_path(str(ROOT / "tools" / "make_demo_data.py"), run_name="make_demo_data"))
    yield module
    del sys.modules["make_demo_data"]


@pytest.fixture(scope="module")
def data_set(tool, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "demo"
    tool.make_demo_data(out, tool.Settings(num_train=24, num_val=8))
    return out


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}


def grey(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def test_the_label_is_the_object_with_the_most_visible_pixels_and_it_leads_by_far(tool, data_set):
    for path in (data_set / "classification").rglob("*.png"):
        split = tool.SPLITS[path.parts[-3]]
        mask = grey(data_set / "segmentation/annotations" / split / path.name)
        visible = np.bincount(mask.ravel(), minlength=len(tool.CLASSES) + 1)[1:]
        assert tool.CLASSES[visible.argmax()] == path.parent.name
        second, first = np.sort(visible)[-2:]
        assert first >= tool.LEAD * second > 0  # there are other classes in the image, too


def test_both_layouts_hold_the_same_images(tool, data_set):
    by_class = {path.name: path.read_bytes() for path in (data_set / "classification").rglob("*.png")}
    flat = {path.name: path.read_bytes() for path in (data_set / "segmentation/images").rglob("*.png")}
    assert by_class == flat and len(flat) == 32
    assert sorted(p.name for p in (data_set / "classification/train").iterdir()) == tool.CLASSES


def test_a_seed_gives_the_same_bytes_and_a_smaller_set_begins_a_larger_one(tool, data_set, tmp_path):
    tool.make_demo_data(tmp_path / "again", tool.Settings(num_train=8, num_val=8))
    smaller, larger = contents(tmp_path / "again"), contents(data_set)
    assert smaller.items() <= larger.items()
    tool.make_demo_data(tmp_path / "other", tool.Settings(num_train=8, num_val=8, seed=1))
    assert not any(smaller[name] == image for name, image in contents(tmp_path / "other").items() if name in smaller)


def test_the_mask_is_exact_to_the_pixel(tool, monkeypatch):
    # On a black ground and without the final noise, what is coloured is what the mask says.
    monkeypatch.setitem(tool.draw_scene.__globals__, "draw_ground", lambda rng, h, w: np.zeros((h, w, 3)))
    monkeypatch.setitem(tool.draw_scene.__globals__, "NOISE", 0.0)
    for label in range(len(tool.CLASSES)):
        scene = tool.draw_scene(np.random.default_rng(label), label, 64, 80)
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
def test_a_shape_keeps_its_area_wherever_it_is_turned(tool, shape, area):
    grid = np.meshgrid(np.arange(300) + 0.5, np.arange(200) + 0.5)
    for angle in (0.0, 0.7, 2.5):
        inside = getattr(tool, shape)(*tool.turned(grid, (150.3, 99.8), angle, 50.0))
        assert inside.sum() == pytest.approx(area * 50**2, rel=0.02)


def test_classes_differ_in_their_texture_and_every_shape_comes_twice(tool):
    textures, shapes = zip(*(name.split("-") for name in tool.CLASSES), strict=True)
    assert len(set(textures)) == len(tool.CLASSES) == 8
    assert {shapes.count(shape.__name__) for shape in tool.SHAPES} == {2}


def test_no_two_textures_are_alike_or_each_others_negative(tool):
    x, y = np.meshgrid(np.arange(0.005, 3, 0.01), np.arange(0.005, 3, 0.01))
    patterns = [np.asarray(texture(x, y)).astype(bool) for texture in tool.TEXTURES]
    for index, pattern in enumerate(patterns):
        for other in patterns[:index]:
            assert 0.05 < (pattern ^ other).mean() < 0.95


def test_the_configs_know_the_classes_by_the_same_names(tool):
    segmentation = Config.fromfile(ROOT / "configs/_base_/datasets/demo_segmentation.py")
    assert list(segmentation.metainfo.classes) == ["ground", *tool.CLASSES]
    assert len(segmentation.metainfo.palette) == segmentation.num_classes == len(tool.CLASSES) + 1
    assert Config.fromfile(ROOT / "configs/_base_/datasets/demo_classification.py").num_classes == len(tool.CLASSES)


def run_main(tool, *arguments: object) -> int:
    return tool.main([str(argument) for argument in arguments])


def test_a_second_run_leaves_the_data_set_as_it_is(tool, data_set, capsys):
    before = {path: path.stat().st_mtime_ns for path in data_set.rglob("*")}
    assert run_main(tool, data_set, "--num-train", 24, "--num-val", 8) == 0
    assert "already there" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in data_set.rglob("*")} == before


def test_a_set_of_other_settings_is_refused(tool, data_set, capsys):
    assert run_main(tool, data_set, "--seed", 3) == 1
    assert "other settings" in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(tool, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    assert run_main(tool, tmp_path) == 1
    assert "no demo data set" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("option", "value"), [("num-train", 3), ("num-val", 0), ("height", 8), ("seed", -1)])
def test_a_number_out_of_range_is_named(tool, tmp_path, capsys, option, value):
    assert run_main(tool, tmp_path / "out", f"--{option}", value) == 1
    assert option.replace("-", "_") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_leaves_no_data_set_and_is_made_good(tool, tmp_path, monkeypatch):
    settings = tool.Settings(num_train=8, num_val=8)
    scene, count = tool.draw_scene, iter(range(5))

    def interrupted(*arguments: object) -> object:
        if next(count, None) is None:
            raise KeyboardInterrupt
        return scene(*arguments)

    with monkeypatch.context() as patch:
        patch.setitem(tool.draw_split.__globals__, "draw_scene", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tool.make_demo_data(tmp_path / "demo", settings)
    assert not (tmp_path / "demo").exists()
    assert tool.make_demo_data(tmp_path / "demo", settings)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
