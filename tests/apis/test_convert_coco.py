"""Index masks from COCO's polygons and run-length masks."""

import json
from argparse import ArgumentParser

import numpy as np
import pytest
from helpers.mask_files import converted, save

from mmtl.apis.convert_masks import convert_masks
from mmtl.apis.start.read_masks import read_mask
from mmtl.cli.convert_masks import main


def coco(**changes):
    """Return a COCO file of one image with one annotation, whose fields are replaced by those of ``changes``."""
    image = dict(id=1, file_name="a.jpg", height=4, width=6)
    annotation = dict(id=9, image_id=1, category_id=7, area=9, segmentation=[[0, 0, 3, 0, 3, 3, 0, 3]])
    content = dict(images=[image], categories=[dict(id=7, name="cat")], annotations=[annotation])
    for key, value in changes.items():
        kind, _, name = key.partition("__")
        content[kind] = value if not name else [{**content[kind][0], name: value}]
    return content


def convert_coco(tmp_path, content):
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return convert_masks(tmp_path / "coco.json", tmp_path / "out")


def runs(counts, size=(4, 6)):
    return dict(annotations__segmentation=dict(size=list(size), counts=counts))


def test_coco_has_small_objects_in_front_and_uncompressed_runs(tmp_path):
    def annotation(category, area, segmentation):
        return dict(image_id=1, category_id=category, area=area, segmentation=segmentation)

    content = dict(
        images=[dict(id=1, file_name="sub/a.jpg", height=4, width=6)],
        categories=[dict(id=7, name="cat"), dict(id=3, name="dog")],
        annotations=[
            annotation(7, 1, dict(size=[4, 6], counts=[0, 1, 23])),  # the first pixel, column by column
            annotation(3, 20, [[0, 0, 3, 0, 3, 3, 0, 3]]),
        ],
    )
    (tmp_path / "coco.json").write_text(json.dumps(content))
    _, table, labels = converted(tmp_path, tmp_path / "coco.json", name="sub/a.png")
    assert table.classes == ["background", "cat", "dog"]
    assert labels[0, 0] == 1 and labels[1, 1] == 2 and labels[0, 5] == 0
    (tmp_path / "coco.json").write_text("[]")
    with pytest.raises(ValueError, match="coco.json must contain a dictionary"):
        convert_masks(tmp_path / "coco.json", tmp_path / "out2")


@pytest.mark.parametrize("names", [["/a.jpg"], ["../a.jpg"], ["a\0.jpg"], ["a.jpg", "a.png"]])
def test_names_of_coco_that_leave_the_folder_or_occur_twice_are_refused(tmp_path, names):
    images = [dict(id=index, file_name=name, height=4, width=6) for index, name in enumerate(names)]
    content = coco(images=images, annotations__image_id=0)
    (tmp_path / "coco.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="coco.json: .*(relative paths|must be different)"):
        convert_masks(tmp_path / "coco.json", tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(annotations=[]), "annotations must have polygons or masks of its images, got none"),
        (dict(annotations__image_id=5), r"got annotations that belong to no image of the file, .*: 1: id 9"),
        (dict(annotations__segmentation=[]), r"got annotations that have no polygon, .*: 1: id 9"),
        (dict(annotations__segmentation=[[0, 0, 3, 0, 3, 3, 0]]), r"annotations\[0\] \(id 9\): segmentation must be "),
        (dict(annotations__segmentation=[[0, 0, 3, 0]]), r"at least 3 points of numbers below .* got \[\[0, 0, 3"),
        (dict(annotations__segmentation=[0, 0, 3, 0, 3, 3]), r"\(id 9\): segmentation must be polygons \[x1, y1"),
        (dict(annotations__segmentation=[[0, 0, 3, 0, 3, float("nan")]]), r"\(id 9\): segmentation must be .*NaN"),
        (dict(annotations__segmentation=[["0", "0", "3", "0", "3", "3"]]), r"\(id 9\): segmentation must be "),
        (dict(annotations__segmentation="RLE"), r"\(id 9\): segmentation must be .*, got \"RLE\""),
        (dict(annotations__area="big"), r"\(id 9\): area must be a number"),
        (dict(annotations__category_id=8), r"\(id 9\): category_id must be one of the file's categories \(7\), got 8"),
        (dict(annotations__category_id=[]), r"\(id 9\): category_id must be a number or text, got \[\]"),
        (dict(annotations=["x"]), r"annotations\[0\] must be a dictionary, got \"x\""),
        (dict(annotations={}), "annotations must be a list, got {}"),
        (dict(categories=[]), r"\(it has none\), got 7"),
        (dict(categories__name=None), r"categories\[0\] \(id 7\): name must be text that is not empty, got null"),
        (dict(categories=[dict(id=7, name="a")] * 2), "categories must have different ids, got 7 twice"),
        (dict(images=[dict(id=1)]), r"images\[0\] \(id 1\): file_name must be .* got nothing"),
        (dict(images__height=None), r"images\[0\] \(id 1\): height must be a whole number .* got null"),
        (dict(images__width="6"), r"images\[0\] \(id 1\): width must be .* got \"6\""),
        (dict(images__width=True), r"images\[0\] \(id 1\): width must be .* got true"),
        *(
            (runs(counts), r"annotation with id 9: segmentation must be a run-length mask of 4 x 6 pixels")
            for counts in (
                [1, 2],
                [-1, 25],
                ["a"],
                [24.5, -0.5],
                [None],
                [[1], [2, 3]],
                {},
                [],
                "V3b",
                "",
                "é",
                "H" * 70,
                None,
            )
        ),
        (runs([0, 24], (6, 4)), r"id 9: segmentation must be a run-length mask of 4 x 6 .*\[6, 4\]"),
        (dict(annotations__segmentation=dict(counts=[24])), "id 9: segmentation must be a run-length mask"),
    ],
)
def test_a_malformed_coco_file_is_an_error_with_the_entry_and_what_to_do(tmp_path, changes, message):
    """Guards: annotations vanished silently, or the error was one of Python."""
    with pytest.raises(ValueError, match=rf"coco.json: .*{message}.*\. (Correct|Export)"):
        convert_coco(tmp_path, coco(**changes))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "image", "mask"),
    [
        ("train/cam1/a.jpg", "images/a.jpg", "out/a.png"),
        ("C:\\data\\cam1\\a.jpg", "images/a.jpg", "out/a.png"),
        ("C:\\cam1\\a.jpg", None, "out/cam1/a.png"),
        ("\\\\server\\share\\cam1\\a.jpg", None, "out/cam1/a.png"),
        ("/else/images/a.jpg", "images/a.jpg", "out/a.png"),
        ("../x/a.jpg", "../images/a.jpg", "out/a.png"),
        ("images/a.jpg", "images/a.jpg", "out/a.png"),
        ("x/a.jpg", "x/a.jpg", "out/x/a.png"),
        ("x/a.jpg", "a.jpg", "out/a.png"),
        ("a.jpg", "images/cam1/a.jpg", "out/cam1/a.png"),
        ("a.jpg", "images/out/a.jpg", "out/a.png"),
    ],
)
def test_masks_of_coco_get_the_paths_of_their_images(tmp_path, name, image, mask):
    root = tmp_path / "json"
    root.mkdir()
    if image:
        save((root / image).resolve(), np.zeros((4, 6)))
    convert_coco(root, coco(images__file_name=name))
    assert [str(path.relative_to(root)) for path in root.rglob("*.png")] == [mask]


def test_a_file_is_not_the_image_of_two_entries(tmp_path):
    save(tmp_path / "images/a.jpg", np.zeros((4, 6)))
    save(tmp_path / "images/b.jpg", np.zeros((4, 6)))
    names = ("1/a.jpg", "2/a.jpg", "2/b.jpg")
    images = [dict(id=i, file_name=name, height=4, width=6) for i, name in enumerate(names)]
    _, table = convert_coco(tmp_path, coco(images=images))
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")} == {
        "1/a.png",
        "2/a.png",
        "b.png",
    }
    assert "WARNING: 2 of 3 images are not beside coco.json or in images/: 1/a.jpg, 2/a.jpg" in table.notes


@pytest.mark.parametrize(("shape", "end"), [((6, 4), "; height and width may be exchanged"), ((8, 12), "")])
def test_images_of_another_size_than_in_coco_are_refused(tmp_path, shape, end):
    save(tmp_path / "images/a.jpg", np.zeros(shape))
    size = "{} x {}".format(*shape)
    with pytest.raises(ValueError, match=rf"images/a.jpg: size must be {size} \(H x W\) .* got 4 x 6{end}\. Correct"):
        convert_coco(tmp_path, coco())


def test_normalized_coordinates_of_coco_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must have coordinates in pixels, got only 0 to 1"):
        convert_coco(tmp_path, coco(annotations__segmentation=[[0.1, 0.2, 0.5, 0.1, 1, 0.4]]))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (dict(images=[], annotations=[dict(segments_info=[{}])], categories=[]), "a file of panoptic segmentation of"),
        (coco(annotations=[dict(keypoints=[1, 2, 2], segmentation=[])]), "a file of keypoints of"),
        (dict(images=[], annotations=[dict(caption="a cat")]), "a file of captions of"),
        ([dict(image_id=1, category_id=1, bbox=[0, 0, 1, 1])], "a list of results of"),
    ],
)
def test_other_files_of_coco_are_named(tmp_path, content, kind):
    with pytest.raises(ValueError, match=f"coco.json is {kind} COCO; convert_masks needs instances"):
        convert_coco(tmp_path, content)


def test_names_of_coco_that_are_equal_or_similar_are_noted(tmp_path, capsys):
    names = ("cat", "cat", "Cat ", "a, b")
    content = coco(categories=[dict(id=i + 6, name=name) for i, name in enumerate(names)])
    assert convert_coco(tmp_path, content)[1].notes == [
        "categories with the ids 6, 7 have the same name and are one class: cat",
        "WARNING: names that differ only in case or spaces are different classes: 'Cat ' and 'cat'",
    ]
    content = coco(categories=[dict(id=7, name="a, b"), dict(id=8, name="c")])
    (tmp_path / "coco.json").write_text(json.dumps(content))
    main(ArgumentParser(), [str(tmp_path / "coco.json"), str(tmp_path / "new"), "--classes", 'c,"a, b"'])
    assert 'background in 1, c in 0, "a, b" in 1' in capsys.readouterr().out
    with pytest.raises(ValueError, match="--classes must have different names, got c more than once"):
        convert_masks(tmp_path / "coco.json", tmp_path / "new", ["a, b", "c", "c"])


def test_ids_of_coco_may_be_large_or_text(tmp_path):
    for image_id in (2**40, "first"):
        content = coco(images__id=image_id, annotations__image_id=image_id)
        assert convert_coco(tmp_path, content)[1].counts[1] == 1


def test_annotations_that_are_not_drawn_are_counted_and_named(tmp_path):
    content = coco()
    first = content["annotations"][0]
    changes = [dict(id=1, image_id=3), dict(id=2, image_id="1"), dict(id=3, segmentation=None), dict(id=4)]
    changes.append(dict(id=5, segmentation=[[7, 0, 9, 0, 9, 3]]))
    content["annotations"] += [{**first, **change} for change in changes]
    orphans, shapeless, outside = convert_coco(tmp_path, content)[1].notes
    assert orphans.startswith("WARNING: ") and orphans.endswith(
        "belong to no image of the file, and are not drawn: 2: id 1, id 2"
    )
    assert "no polygon" in shapeless and shapeless.endswith("1: id 3")
    assert "outside of their image" in outside and outside.endswith("1: id 5 (a.jpg)")


def test_compressed_runs_of_coco_are_those_of_pycocotools(tmp_path):
    mask = pytest.importorskip("pycocotools.mask")
    truth = np.zeros((40, 60), np.uint8)
    truth[3:30, 7:50] = np.random.default_rng(0).random((27, 43)) > 0.3
    encoded = mask.encode(np.asfortranarray(truth))
    content = coco(images__height=40)
    content["images"][0]["width"] = 60
    content["annotations"][0]["segmentation"] = dict(size=[40, 60], counts=encoded["counts"].decode())
    convert_coco(tmp_path, content)
    assert np.array_equal(read_mask(tmp_path / "out/a.png")[0], truth)
