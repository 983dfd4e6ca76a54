"""Index masks from colors, from 0 and 255, and from polygons."""

import json
from argparse import ArgumentParser

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from mmtl.apis.convert_masks import convert_masks, next_step
from mmtl.apis.start.masks import find_masks
from mmtl.apis.start.read_masks import read_mask
from mmtl.cli.convert_masks import main
from mmtl.utils.class_colors import class_palette

LABELS = np.array([[0, 1, 2], [2, 2, 1]])
COLORS = np.array([[10, 0, 0], [20, 0, 0], [30, 30, 30]], np.uint8)  # in ascending order


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def converted(tmp_path, source, *args, name="a.png", **options):
    count, table = convert_masks(source, tmp_path / "out", *args, **options)
    assert json.loads((tmp_path / "out/classes.json").read_text()) == dict(
        classes=table.classes, palette=table.palette
    )
    labels, palette = read_mask(tmp_path / "out" / name)
    assert palette[: len(table.palette)] == table.palette
    return count, table, labels


def test_colors_become_indices_in_ascending_order_with_the_colors_as_palette(tmp_path):
    save(tmp_path / "masks/a.png", COLORS[LABELS])
    save(tmp_path / "masks/b.png", COLORS[np.full((2, 2), 2)])  # only gray colors
    count, table, labels = converted(tmp_path, tmp_path / "masks")
    assert count == 2 and table.classes == ["#0a0000", "#140000", "#1e1e1e"] and table.palette == COLORS.tolist()
    assert np.array_equal(labels, LABELS) and (read_mask(tmp_path / "out/b.png")[0] == 2).all()


def test_the_next_step_is_mmtl_start_on_a_folder_where_it_finds_the_masks(tmp_path):
    data = tmp_path / "my data"
    save(tmp_path / "colors/a.png", COLORS[LABELS])
    save(data / "images/a.png", COLORS[LABELS])
    convert_masks(tmp_path / "colors", data / "masks")
    assert next_step(data / "masks") == f"mmtl start '{data}'"
    convert_masks(tmp_path / "colors", data / "other")
    assert next_step(data / "other").startswith("put them into FOLDER/masks")


def test_an_ignored_color_becomes_255_and_names_are_the_users(tmp_path):
    save(tmp_path / "masks/a.png", COLORS[LABELS])
    _, table, labels = converted(tmp_path, tmp_path / "masks", ["sky", "road"], ignore="#0a0000")
    assert table.classes == ["sky", "road"] and np.array_equal(labels, np.array([255, 0, 1])[LABELS])
    assert table.legend == "#140000 is sky, #1e1e1e is road"
    assert table.notes == ["ignored: #0a0000 (16.7% of the pixels)"]
    legend = convert_masks(tmp_path / "masks", tmp_path / "other")[1].legend
    assert legend == "#0a0000 is class 0, #140000 is class 1, #1e1e1e is class 2"
    with pytest.raises(ValueError, match="the 3 values #0a0000, #140000, #1e1e1e in this order, got 2 names"):
        convert_masks(tmp_path / "masks", tmp_path / "out", ["sky", "road"])
    with pytest.raises(ValueError, match="--ignore must be a gray level .* got #zz. The masks have #0a0000, "):
        convert_masks(tmp_path / "masks", tmp_path / "out", ignore="#zz")


@pytest.mark.parametrize("levels", [[0, 255], [0, 80, 240], [0, 128, 255]])
def test_gray_levels_become_indices(tmp_path, levels):
    labels = LABELS % len(levels)
    save(tmp_path / "masks/a.png", np.array(levels)[labels])
    _, table, found = converted(tmp_path, tmp_path / "masks")
    assert np.array_equal(found, labels) and len(table.classes) == len(levels)
    assert (table.classes == ["background", "foreground"]) == (len(levels) == 2)
    assert table.palette == class_palette(len(levels)).tolist()  # also 0 and 255, which would only darken an overlay


def test_names_by_color_give_the_order_and_one_name_is_one_class(tmp_path):
    save(tmp_path / "masks/a.png", COLORS[LABELS])
    names = ["#1e1e1e=sky", "#0A0000=road", "#140000 = sky"]
    _, table, labels = converted(tmp_path, tmp_path / "masks", names)
    assert table.classes == ["sky", "road"] and table.palette == [[30, 30, 30], [10, 0, 0]]
    assert np.array_equal(labels, np.array([1, 0, 0])[LABELS])
    assert table.legend == "#1e1e1e is sky, #0a0000 is road, #140000 is sky"
    with pytest.raises(ValueError, match=r"got no name for #140000 \(\S*masks/a.png\), #1e1e1e"):
        convert_masks(tmp_path / "masks", tmp_path / "out", ["#0a0000=road"])
    with pytest.raises(ValueError, match="got 'road' without a value"):
        convert_masks(tmp_path / "masks", tmp_path / "out", ["#1e1e1e=sky", "road"])
    assert convert_masks(tmp_path / "masks", tmp_path / "out", ["#0a0000=a", "#140000=b"], ignore="#1e1e1e")[0] == 1


@pytest.mark.parametrize("names", [["255=road", "0=background"], ["#ffffff=road", "#000000=background"]])
def test_gray_levels_are_named_in_pairs(tmp_path, names):
    save(tmp_path / "masks/a.png", np.array([0, 255])[LABELS % 2])
    _, table, labels = converted(tmp_path, tmp_path / "masks", names)
    assert table.classes == ["road", "background"] and np.array_equal(labels, 1 - LABELS % 2)


def test_indices_with_gaps_are_converted_by_pairs(tmp_path):
    save(tmp_path / "masks/a.png", [[1, 3, 5, 255]])
    labels = converted(tmp_path, tmp_path / "masks", ["5=a", "1=b", "3=c"])[2]
    assert labels.tolist() == [[1, 2, 0, 255]]


@pytest.mark.parametrize("values", [[0, 255], [0, 1], [[0, 0, 0], [255, 0, 0]]])
def test_masks_in_a_lossy_format_are_refused_for_their_noise(tmp_path, values):
    noisy = np.array(values, np.uint8)[np.tri(40, dtype=int)]
    Image.fromarray(noisy).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a.jpg: masks must (not have a lossy format|have at most 64 colors)"):
        find_masks([tmp_path / "a.jpg"])


def test_clean_masks_in_a_lossy_format_are_accepted_with_a_warning(tmp_path):
    blocks = np.array([0, 255], np.uint8)[np.kron([[0, 1], [1, 1]], np.ones((8, 8), int))]
    (tmp_path / "masks").mkdir()
    Image.fromarray(blocks).save(tmp_path / "masks/a.jpg", quality=100)
    _, table, labels = converted(tmp_path, tmp_path / "masks")
    assert np.array_equal(labels, blocks // 255) and "a.jpg has a lossy format" in table.notes[0]


def test_absent_and_stray_indices_are_named(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path in paths:
        save(path, [[0, 1, 2, 37 if path.stem == "1" else 0]])
    absent, rare = find_masks(paths).warnings()
    assert "0 to 37 of classes, 3 to 36 occur nowhere" in absent and f"in one file only: 37 ({paths[1]})" in rare
    save(paths[1], [[0, 1]])
    assert not find_masks(paths).warnings()
    assert "0 to 4 of classes, 3 to 4 occur nowhere" in find_masks(paths).warnings(num_classes=5)[0]
    assert "3 to 4 occur in none of the 2 masks that were read" in find_masks(paths, 2).warnings(num_classes=5)[0]


def test_gray_masks_saved_as_rgb_are_gray(tmp_path):
    save(tmp_path / "masks/a.png", np.repeat(np.array([0, 255])[LABELS % 2][..., None], 3, axis=2))
    assert np.array_equal(converted(tmp_path, tmp_path / "masks")[2], LABELS % 2)


def test_index_masks_are_refused_unless_all_of_their_values_are_named(tmp_path):
    save(tmp_path / "masks/a.png", [[0, 1], [7, 255]])
    with pytest.raises(ValueError, match="class indices already, of 8 classes"):
        convert_masks(tmp_path / "masks", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    labels = converted(tmp_path, tmp_path / "masks", ["a", "b", "c"], ignore="255")[2]
    assert labels.tolist() == [[0, 1], [2, 255]]


def test_few_masks_of_many_classes_are_indices(tmp_path):
    save(tmp_path / "a.png", [[1, 3, 5, 6, 10, 13, 41, 103]])
    assert find_masks([tmp_path / "a.png"]).num_classes == 104


def test_palette_files_are_indices_and_photographs_are_no_masks(tmp_path):
    image = Image.fromarray(np.array([[0, 100]], np.uint8))
    image.putpalette([i for i in range(256) for _ in range(3)])
    image.save(tmp_path / "a.png")
    assert find_masks([tmp_path / "a.png"]).kind == "index"
    save(tmp_path / "b.png", np.random.default_rng(0).integers(0, 255, (20, 20, 3)))
    with pytest.raises(ValueError, match=r"at most 64 colors, .* If the folders are swapped, exchange their names\."):
        find_masks([tmp_path / "b.png"])


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


def test_the_source_is_never_overwritten(tmp_path):
    save(tmp_path / "masks/a.png", COLORS[LABELS])
    for out in (tmp_path / "masks", tmp_path):
        with pytest.raises(ValueError, match="contains the source"):
            convert_masks(tmp_path / "masks", out)


def test_masks_of_other_files_are_never_mixed(tmp_path):
    """Guards: masks of two conversions were in one folder, with the classes.json of the last."""
    save(tmp_path / "first/a.png", COLORS[LABELS])
    save(tmp_path / "second/b.png", COLORS[LABELS])
    convert_masks(tmp_path / "first", tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match="out must be a new or empty folder, got one with a.png"):
        convert_masks(tmp_path / "second", tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    save(tmp_path / "first/b.png", COLORS[LABELS])  # the same files and a new one
    assert converted(tmp_path, tmp_path / "first", ["x", "y", "z"])[1].classes == ["x", "y", "z"]
    save(tmp_path / "own/a.png", LABELS)
    before = (tmp_path / "own/a.png").read_bytes()
    with pytest.raises(ValueError, match="own must be a new or empty folder, got one with a.png"):
        convert_masks(tmp_path / "first", tmp_path / "own")  # masks that were not converted
    assert (tmp_path / "own/a.png").read_bytes() == before
    with pytest.raises(ValueError, match="must be a folder, got the file"):
        convert_masks(tmp_path / "first", tmp_path / "own/a.png")


@pytest.mark.parametrize("content", ["text", "half"])
def test_a_corrupt_mask_is_named_with_what_to_do(tmp_path, content):
    save(tmp_path / "masks/a.png", COLORS[LABELS])
    save(tmp_path / "masks/b.png", COLORS[np.random.default_rng(0).integers(0, 3, (90, 90))])
    data = (tmp_path / "masks/b.png").read_bytes()
    (tmp_path / "masks/b.png").write_bytes(b"text" if content == "text" else data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"masks/b.png must be a complete image, got .*\. Replace or remove it\."):
        convert_masks(tmp_path / "masks", tmp_path / "out")


@pytest.mark.parametrize("names", [["/a.jpg"], ["../a.jpg"], ["a\0.jpg"], ["a.jpg", "a.png"]])
def test_names_of_coco_that_leave_the_folder_or_occur_twice_are_refused(tmp_path, names):
    images = [dict(id=index, file_name=name, height=4, width=6) for index, name in enumerate(names)]
    content = coco(images=images, annotations__image_id=0)
    (tmp_path / "coco.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="coco.json: .*(relative paths|must be different)"):
        convert_masks(tmp_path / "coco.json", tmp_path / "out")


@pytest.mark.parametrize(
    ("pixels", "ignore", "message"),
    [
        ([[0, 255]], "0", r"--ignore must not be one of the only values 0 and 255 .* got 0\."),
        ([[0, 255]], "7", r"--ignore must be a value of the masks \(0, 255\), got 7\."),
        ([[0, 80]], "#ff0000", r"--ignore must be a value of the masks \(0, 80\), got #ff0000\."),
        *(
            (COLORS[:2][None], text, rf"--ignore must be a value of the masks \(#0a0000, #140000\), got {text}\.")
            for text in ("0", "000000", "#123456")
        ),
    ],
)
def test_an_ignored_value_that_no_mask_has_is_refused_with_the_values(tmp_path, pixels, ignore, message):
    save(tmp_path / "masks/a.png", pixels)
    with pytest.raises(ValueError, match=message):
        convert_masks(tmp_path / "masks", tmp_path / "out", ignore=ignore)
    assert not (tmp_path / "out").exists()


def test_an_ignored_gray_level_may_be_given_as_a_color(tmp_path):
    save(tmp_path / "masks/a.png", [[0, 80, 160]])
    assert converted(tmp_path, tmp_path / "masks", ignore="#000000")[2].tolist() == [[255, 0, 1]]


def test_named_values_that_no_mask_has_and_values_of_one_file_are_warned_of(tmp_path):
    for index in range(8):
        save(tmp_path / f"masks/{index}.png", COLORS[[[0, 1, 2 if index == 5 else 1]]])
    names = ["#0a0000=a", "#140000=b", "#1e1e1e=c", "#123456=d"]
    absent, rare = convert_masks(tmp_path / "masks", tmp_path / "out", names)[1].notes
    assert "WARNING: values of classes that occur nowhere: #123456 (d)" in absent
    assert f"WARNING: values in one file only: #1e1e1e ({tmp_path}/masks/5.png)" in rare
    notes = convert_masks(tmp_path / "masks", tmp_path / "out", ignore="#1e1e1e")[1].notes
    assert notes == ["ignored: #1e1e1e (4.2% of the pixels)"]


@pytest.mark.parametrize(
    ("names", "ignore", "message"),
    [
        (["#0a0000=a", "30=b"], None, r"must name colors such as .* \(#0a0000, #140000\), got 30\."),
        (["#0a0000=a", "#140000=b"], "#0a0000", "must not name the value of --ignore, got #0a0000=a"),
        (["#0a0000=a", "#0A0000=b"], None, "must name each value once, got #0a0000=a and #0A0000=b. Omit all"),
        (["255=a", "0=b", "#ffffff=a"], None, "must name each value once, got 255=a and #ffffff=a. Omit"),
        (["#0a0000=a", "#140000=NAME"], None, "got #140000=NAME. Replace NAME"),
        (["70 130 180=sky"], None, r"must have VALUE=NAME .* got '70 130 180=sky'\. Write #4682b4=sky\."),
        (["(70, 130, 180)=sky"], None, r"Write #4682b4=sky\."),
        (["70", "130", "180=sky"], None, r"Write #4682b4=sky\."),
        (["#4682B4:sky"], None, r"must have VALUE=NAME .* got '#4682B4:sky'\. Write #4682b4=sky\."),
        (["4682b4=sky"], None, r"Write #4682b4=sky\."),
        (["sky=#4682b4"], None, r"Write #4682b4=NAME"),
    ],
)
def test_names_by_value_in_a_wrong_form_are_refused_with_the_right_one(tmp_path, names, ignore, message):
    save(tmp_path / "masks/a.png", COLORS[:2][None])
    with pytest.raises(ValueError, match=message):
        convert_masks(tmp_path / "masks", tmp_path / "out", names, ignore=ignore)


def test_a_mask_without_its_end_is_truncated_though_its_pixels_are_complete(tmp_path):
    save(tmp_path / "a.png", LABELS)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"a.png must be a complete image, got .*truncated\). Replace or remove it"):
        find_masks([tmp_path / "a.png"])


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


def test_normalized_coordinates_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must have coordinates in pixels, got only 0 to 1"):
        convert_coco(tmp_path, coco(annotations__segmentation=[[0.1, 0.2, 0.5, 0.1, 1, 0.4]]))
    save_labelme(tmp_path / "labelme/a.json", shape("road", "polygon", [0.1, 0.2], [0.5, 0.1], [1, 0.4]))
    with pytest.raises(ValueError, match="must have coordinates in pixels, got only 0 to 1"):
        convert_masks(tmp_path / "labelme", tmp_path / "out")


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


@pytest.mark.parametrize("gray", [0, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_masks_in_the_alpha_channel_are_refused_and_transparent_masks_of_colors_are_not(tmp_path, gray, mode):
    """Guards: they were background without a word."""
    image = Image.new(mode[:-1], (3, 2), (gray,) * 3 if mode == "RGBA" else gray)
    image.putalpha(Image.fromarray(np.array([[0, 255, 0], [0, 0, 255]], np.uint8)))
    (tmp_path / "masks").mkdir()
    image.save(tmp_path / "masks/a.png")
    with pytest.raises(ValueError, match=r"a.png: masks .* their alpha channel holds the mask. Save .*getchannel"):
        convert_masks(tmp_path / "masks", tmp_path / "out")
    image.putpixel((1, 0), (9, 9, 9, 255) if mode == "RGBA" else (9, 255))
    image.save(tmp_path / "masks/a.png")
    assert convert_masks(tmp_path / "masks", tmp_path / "out")[0] == 1


@pytest.mark.parametrize("value", [0, 1, 255, [9, 0, 0]])
def test_masks_of_one_value_are_refused(tmp_path, value):
    for name in "ab":
        save(tmp_path / f"masks/{name}.png", np.broadcast_to(value, (4, 4, *np.shape(value))))
    with pytest.raises(ValueError, match=r"masks: masks must have at least two values, got only \S+ in 2 masks"):
        find_masks([tmp_path / "masks/a.png", tmp_path / "masks/b.png"])


def test_palettes_must_agree_on_the_values_that_occur(tmp_path):
    """Guards: labels were exchanged without a word."""
    red, green, blue = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path, palette in zip(paths, ([red, green, blue], [red, green], [green, red]), strict=True):
        image = Image.fromarray(np.array([[0, 1]], np.uint8))
        image.putpalette(sum(palette, []))
        image.save(path)
    assert find_masks(paths[:2]).palette[:3] == [red, green, blue]
    with pytest.raises(ValueError, match=r"c.png: palettes .* got #00ff00 for the value 0, .* #ff0000 in \S+a.png\."):
        find_masks(paths)


@pytest.mark.parametrize("as_rgb", [False, True])
@pytest.mark.parametrize("scale", [3, 8, 16])
def test_smoothed_masks_of_0_and_255_are_divided_in_the_middle(tmp_path, scale, as_rgb):
    """Guards: each of the levels became a class."""
    big = Image.new("L", (64 * scale, 64 * scale))
    ImageDraw.Draw(big).ellipse((10 * scale, 9 * scale, 47 * scale, 52 * scale), fill=255)
    image = big.resize((64, 64), Image.Resampling.BOX)
    if scale == 16:
        image = image.filter(ImageFilter.GaussianBlur(2))
    (tmp_path / "masks").mkdir()
    (image.convert("RGB") if as_rgb else image).save(tmp_path / "masks/a.png")
    found = find_masks([tmp_path / "masks/a.png"])
    assert found.kind == "binary" and found.smoothed > 3 and "without antialiasing" in found.reason
    _, table, labels = converted(tmp_path, tmp_path / "masks")
    assert table.classes == ["background", "foreground"] and np.array_equal(labels, np.array(image) > 127)
    assert any(note.startswith("WARNING: masks of 0 and 255 have ") for note in table.notes)


def test_gray_levels_of_classes_are_not_taken_for_smoothed_borders(tmp_path):
    levels = np.array([0, 43, 85, 128, 170, 213, 255])
    save(tmp_path / "a.png", levels[np.arange(64).reshape(8, 8) % 7])
    assert find_masks([tmp_path / "a.png"]).kind == "gray"
    save(tmp_path / "b.png", np.r_[np.zeros(900), np.full(900, 255), np.arange(150)][None])  # ADE20K
    assert find_masks([tmp_path / "b.png"]).num_classes == 150
