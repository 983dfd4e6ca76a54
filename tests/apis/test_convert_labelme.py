"""Index masks from labelme's polygons."""

import json
from argparse import ArgumentParser

import numpy as np
import pytest
from helpers.mask_files import converted, save

from mmtl.apis.convert_masks import convert_masks
from mmtl.cli.convert_masks import main


def shape(label, kind, *points):
    return dict(label=label, shape_type=kind, points=points)


def save_labelme(path, *shapes):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(shapes=shapes, imageHeight=10, imageWidth=12, imagePath="a.jpg")))


ROAD = shape("road", "polygon", [0, 0], [9, 0], [9, 9], [0, 9])


def test_shapes_of_labelme_are_drawn_in_their_order(tmp_path):
    shapes = [ROAD, shape("car", "rectangle", [8, 8], [4, 4]), shape("wheel", "circle", [2, 2], [3, 2])]
    save_labelme(tmp_path / "labelme/a.json", *shapes)
    save(tmp_path / "labelme/a.jpg", np.zeros((10, 12, 3)))  # labelme keeps its files beside the images
    count, table, labels = converted(tmp_path, tmp_path / "labelme")
    assert count == 1 and table.classes == ["background", "car", "road", "wheel"] and labels.shape == (10, 12)
    assert labels[1, 11] == 0 and labels[0, 5] == 2 and labels[6, 6] == 1 and labels[2, 2] == 3


@pytest.mark.parametrize(
    ("names", "classes", "background"),
    [
        (["road", "car"], ["background", "road", "car"], 0),
        (["road", "_background_", "car"], ["road", "_background_", "car"], 1),
    ],
)
def test_pixels_outside_polygons_are_background_whatever_the_classes_are(tmp_path, names, classes, background):
    """Guards: they became the first class of --classes."""
    save_labelme(tmp_path / "labelme/a.json", ROAD)
    _, table, labels = converted(tmp_path, tmp_path / "labelme", names)
    assert table.classes == classes and labels[0, 0] == classes.index("road") and labels[0, 11] == background


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (shape("road", "line", [0, 0], [1, 1]), "shapes must be polygons, rectangles or circles, got line 'road'"),
        (shape("road", "polygon", [0, 0], [1, 1]), "'road' must have at least 3 points as a polygon, got 2"),
        (shape("road", "circle", [0, 0]), "'road' must have 2 points as a circle, got 1"),
        (ROAD | dict(label="raod"), "--classes must have the label 'raod', got road, car"),
    ],
)
def test_an_error_names_the_file_of_labelme_and_nothing_is_written(tmp_path, wrong, message):
    """Guards: the masks of the files before it stayed, without classes.json."""
    save_labelme(tmp_path / "labelme/a.json", ROAD)
    save_labelme(tmp_path / "labelme/b.json", wrong)
    with pytest.raises(ValueError, match=rf"b.json: .*{message}.*\. (Remove|Correct)"):
        convert_masks(tmp_path / "labelme", tmp_path / "out", ["road", "car"])
    assert not (tmp_path / "out").exists()


def test_an_error_while_masks_are_made_leaves_the_earlier_result(tmp_path):
    save_labelme(tmp_path / "labelme/a.json", ROAD)
    save_labelme(tmp_path / "labelme/b.json", ROAD)
    convert_masks(tmp_path / "labelme", tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    save_labelme(tmp_path / "labelme/a.json")
    save_labelme(tmp_path / "labelme/b.json", ROAD | dict(points=[[0, 0], [1], [2, 2]]))
    with pytest.raises((ValueError, TypeError)):
        convert_masks(tmp_path / "labelme", tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    with pytest.raises((ValueError, TypeError)):
        convert_masks(tmp_path / "labelme", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_number_of_masks_with_each_class_is_printed(tmp_path, capsys):
    """Guards: a misspelled label became a class unseen."""
    for name in ("a", "b"):
        save_labelme(tmp_path / f"labelme/{name}.json", ROAD)
    save_labelme(tmp_path / "labelme/c.json", shape("raod", "rectangle", [0, 0], [3, 3]))
    main(ArgumentParser(), [str(tmp_path / "labelme"), str(tmp_path / "out")])
    assert "background in 3, raod in 1, road in 2" in capsys.readouterr().out


def test_normalized_coordinates_of_labelme_are_refused(tmp_path):
    save_labelme(tmp_path / "labelme/a.json", shape("road", "polygon", [0.1, 0.2], [0.5, 0.1], [1, 0.4]))
    with pytest.raises(ValueError, match="must have coordinates in pixels, got only 0 to 1"):
        convert_masks(tmp_path / "labelme", tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(shapes={}), "shapes must be a list, got {}"),
        (dict(shapes=None), "shapes must be a list, got null"),
        (dict(shapes=[3]), r"shapes\[0\] must be a dictionary, got 3"),
        (dict(shapes=[dict(ROAD, label=None)]), r"shapes\[0\]: label must be text"),
        (dict(shapes=[dict(ROAD, points=[[0, 0], [1], [2, 2]])]), r"shapes\[0\]: points must be a list of points"),
        (dict(shapes=[dict(ROAD, points=[["0", "0"]] * 3)]), r"shapes\[0\]: points must be a list of points"),
        (dict(shapes=[dict(ROAD, points=[[0, float("nan")]] * 3)]), r"shapes\[0\]: points must be .*numbers below"),
        (dict(shapes=[dict(ROAD, shape_type=[])]), "shapes must be polygons, rectangles or circles"),
        (dict(imageWidth="12"), r"imageWidth must be a whole number .* got \"12\""),
        (dict(imageHeight=None), "whose image is not beside it: imageWidth must be .* got null"),
        (dict(imageHeight=None, imagePath=5), "whose image is not beside it: imageWidth must be .* got null"),
        (dict(shapes=[]), "files of labelme must have shapes, got 1 without one"),
    ],
)
def test_a_malformed_file_of_labelme_is_an_error_with_the_entry_and_what_to_do(tmp_path, change, message):
    save_labelme(tmp_path / "labelme/a.json", ROAD)
    content = json.loads((tmp_path / "labelme/a.json").read_text()) | change
    (tmp_path / "labelme/a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"labelme.*: {message}|labelme/a.json, {message}"):
        convert_masks(tmp_path / "labelme", tmp_path / "out")


@pytest.mark.parametrize("name", ["../photos/b.jpg", "..\\photos\\b.jpg", "a.jpg", None])
def test_labelme_files_without_a_size_get_that_of_their_image(tmp_path, name):
    (tmp_path / "labelme").mkdir()
    content = dict(shapes=[ROAD], imageHeight=None, imagePath=name)
    (tmp_path / "labelme/a.json").write_text(json.dumps(content))
    save(tmp_path / ("photos/b.jpg" if name and "b" in name else "labelme/a.jpg"), np.zeros((10, 12, 3)))
    assert converted(tmp_path, tmp_path / "labelme")[2].shape == (10, 12)


@pytest.mark.parametrize(
    ("kind", "points"), [("polygon", [[12, 0], [20, 0], [20, 9]]), ("circle", [[-5, 5], [-2, 5]])]
)
def test_shapes_of_labelme_outside_of_their_image_are_named(tmp_path, kind, points):
    save_labelme(tmp_path / "labelme/a.json", ROAD, shape("car", kind, *points))
    notes = convert_masks(tmp_path / "labelme", tmp_path / "out")[1].notes
    assert len(notes) == 1 and "outside of their image" in notes[0] and notes[0].endswith("a.json (car)")
