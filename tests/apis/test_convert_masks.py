"""Index masks from masks of colors, gray levels, and 0 and 255."""

import numpy as np
import pytest
from helpers.mask_files import COLORS, LABELS, converted, save
from PIL import Image, ImageDraw, ImageFilter

from mmtl.apis.convert_masks import convert_masks, next_step
from mmtl.apis.start.masks import find_masks
from mmtl.apis.start.read_masks import read_mask
from mmtl.utils.class_colors import class_palette


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


def test_clean_masks_in_a_lossy_format_are_accepted_with_a_warning(tmp_path):
    blocks = np.array([0, 255], np.uint8)[np.kron([[0, 1], [1, 1]], np.ones((8, 8), int))]
    (tmp_path / "masks").mkdir()
    Image.fromarray(blocks).save(tmp_path / "masks/a.jpg", quality=100)
    _, table, labels = converted(tmp_path, tmp_path / "masks")
    assert np.array_equal(labels, blocks // 255) and "a.jpg has a lossy format" in table.notes[0]


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
