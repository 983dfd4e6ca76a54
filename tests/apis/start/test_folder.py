"""What `mmtl start` finds in folders as people have them."""

import json

import pytest
from helpers.start_folders import write
from PIL import Image

from mmtl.apis.start.folder import find_images
from mmtl.apis.start.found_images import describe
from mmtl.apis.start.split import stratified_split
from mmtl.apis.start.start import Wishes, start
from mmtl.utils.read_image import is_complete

LABELME = dict(shapes=[])
COCO = dict(images=[], annotations=[], categories=[])
PANOPTIC = COCO | dict(annotations=[dict(segments_info=[dict(id=1)])])
MOVE = "mkdir images masks && mv *.png masks/ && mv *.jpg images/"


def test_class_folders_are_split_with_the_same_share_of_every_class(tmp_path):
    write(tmp_path, *(f"{name}/my image {i}.JPG" for name in ("cat", "a dog") for i in range(10)), ".hidden/x.png")
    found = find_images(tmp_path, 0.2)
    assert found.classes == ("a dog", "cat") and not found.has_val
    assert len(found.split.train) == 16 and [label for _, label in found.split.val] == [0, 0, 1, 1]
    keys = {key for key, _ in found.split.train + found.split.val}
    assert len(keys) == 20 and all((tmp_path / key).is_file() for key in keys)
    assert find_images(tmp_path, 0.2).split == found.split


@pytest.mark.parametrize("other", ["validaton", "things"])
def test_folders_beside_those_of_the_split_are_named(tmp_path, other):
    """Guards: images of a misspelt validation folder, or of a class beside train/, were left out silently."""
    write(tmp_path / "a", *(f"{part}/{name}/1.png" for part in ("train", other, "test") for name in "xy"))
    write(tmp_path / "a", "train/x/2.png", "train/y/2.png")
    write(
        tmp_path / "b",
        *(f"{kind}/{part}/{i}.png" for kind in ("images", "masks") for part in ("train", other) for i in "12"),
    )
    for root, folder in (("a", other), ("b", f"images/{other}")):
        found = find_images(tmp_path / root, 0.5)
        assert f"WARNING: folders beside those for training and validation are left out: {folder}" in describe(found)
        assert all("train" in str(entry[0]) for entry in found.split.train)
    assert not find_images(tmp_path / "a/train", 0.5).beside


def test_a_share_for_validation_is_not_ignored(tmp_path):
    write(tmp_path / "photos", "train/a/1.png", "train/b/1.png", "val/a/2.png", "val/b/2.png")
    with pytest.raises(ValueError, match="--val needs images that are not split, got a validation folder. Omit it"):
        start(tmp_path / "photos", tmp_path / "out", Wishes(val=0.4, device="cpu"))
    assert not (tmp_path / "out").exists()


def test_every_class_of_two_images_has_one_on_each_side():
    split = stratified_split([(f"{label}{i}", label) for label in range(3) for i in range(1 + label)], 0.01)
    assert [label for _, label in split.val] == [1, 2] and {label for _, label in split.train} == {0, 1, 2}


def test_parts_that_are_too_small_for_training_are_named(tmp_path):
    write(tmp_path, *(f"{name}/{i}.png" for name, count in (("a", 2), ("b", 9)) for i in range(count)))
    assert "WARNING: classes with one training image: a" in describe(find_images(tmp_path, 0.2))
    lines = describe(find_images(tmp_path, 0.99))
    assert "WARNING: more images are for validation (9) than for training (2)" in lines


def test_files_of_formats_that_are_not_read_are_counted(tmp_path):
    write(tmp_path, "a/1.png", "a/2.png")
    for name in ("1.HEIC", "2.heic", "a.gif", "film.mp4", ".hidden.gif", "Thumbs.db", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(
        ValueError, match=r"the only class folder is 'a'. Convert its 2 .heic, 1 .gif, 1 .mp4 files to"
    ):
        find_images(tmp_path, 0.2)
    write(tmp_path, "b/1.png", "b/2.png")
    left_out = "are left out, since these formats are not read: convert them to .jpg or .png"
    assert f"WARNING: 2 .heic, 1 .gif, 1 .mp4 files {left_out}" in describe(find_images(tmp_path, 0.2))
    for path in tmp_path.glob("*/*.png"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"contains no image .* Convert its 2 .heic, 1 .gif, 1 .mp4 files to"):
        find_images(tmp_path, 0.2)


def test_images_of_as_many_pixels_as_opencv_decodes_are_accepted(tmp_path):
    """Guards: those above Pillow's own limit counted as truncated."""
    write(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(2)))
    Image.new("1", (14000, 14000)).save(tmp_path / "a/0.png")
    found = find_images(tmp_path, 0.5)
    assert not found.unreadable and (14000, 14000) in found.sizes


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (["a/1.png", "b/1.png", "2.png"], "2.png is in no class folder"),
        (["a/1.png", "a/2.png"], "the only class folder is 'a'"),
        (["val/val/1.png"], "the only class folder is 'val'"),
        (
            ["images/1.png", "images/2.png"],
            "masks are missing: images/1.png must have .* got no mask",
        ),
        (["train/images/1.png", "train/masks/x.png"], "train/images/1.png must have .* got train/masks/x.png"),
        (["images/a/1.png", "images/b/2.png"], "the only class folder is 'images'"),
        (["a/1.txt"], "contains no image"),
        (["a/1.png", "b/1.png"], "got 2 for training and 0 for validation"),
    ],
)
def test_folders_that_cannot_be_trained_on_are_named_with_the_reason(tmp_path, keys, problem):
    write(tmp_path, *keys)
    with pytest.raises((ValueError, FileNotFoundError), match=problem):
        find_images(tmp_path, 0.2)


def test_files_that_are_not_images_are_left_out(tmp_path):
    write(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(4)))
    (tmp_path / "a/0.png").write_bytes(b"not an image")
    found = find_images(tmp_path, 0.25)
    assert found.unreadable == ["a/0.png"] and len(found.split.train + found.split.val) == 7
    assert "WARNING: 1 file is truncated or not an image, and left out: a/0.png" in describe(found)


def test_truncated_images_are_left_out(tmp_path):
    write(tmp_path, "a/0.png", "b/0.png", "a/1.png", "b/1.png")
    suffixes = ("jpg", "jpeg", "PNG", "webp", "bmp", "ppm", "tif")
    noise = Image.effect_noise((60, 50), 90).convert("RGB")
    for suffix in suffixes:
        path = tmp_path / f"a/x.{suffix}"
        noise.save(path)
        assert is_complete(path)
        path.write_bytes(path.read_bytes()[:-2000])
    found = find_images(tmp_path, 0.25)
    assert sorted(found.unreadable) == sorted(f"a/x.{suffix}" for suffix in suffixes)
    assert [line for line in describe(found) if "7 files are truncated or not images, and left out: a/x." in line]


def test_sizes_are_those_of_upright_images(tmp_path):
    write(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(2)), size=(20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "a/0.png", exif=exif)
    assert sorted(find_images(tmp_path, 0.5).sizes) == [(10, 20), (20, 10), (20, 10), (20, 10)]


@pytest.mark.parametrize(
    ("files", "content", "hint"),
    [
        (["{}.jpg", "{}.json"], LABELME, "Run mmtl convert_masks ROOT ROOT/masks. Move the images to ROOT/images."),
        (["images/{}.jpg", "images/{}.json"], LABELME, "Run mmtl convert_masks ROOT/images ROOT/masks."),
        (["images/{}.jpg", "labels/{}.json"], LABELME, "Run mmtl convert_masks ROOT/labels ROOT/masks."),
        (["{}.jpg", "all.json"], COCO, "Run mmtl convert_masks ROOT/all.json ROOT/masks. Move "),
        (
            ["train/{}.jpg", "train/a.json", "valid/a.json"],
            COCO,
            "Run mmtl convert_masks ROOT/train/a.json ROOT/masks/train. Move the images to ROOT/images/train. Do the "
            "same with valid/a.json.",
        ),
        (["{}.jpg", "{}.png", "x.json"], {}, f"cd ROOT && {MOVE}"),
        (["train/{}.jpg", "train/{}.png"], {}, f"cd ROOT/train && {MOVE}"),
        (["a/{}.jpg", "a/{}.png"], {}, f"cd ROOT/a && {MOVE}"),
        (
            ["train2017/{}.jpg", "val2017/{}.jpg", "annotations/instances_train2017.json"],
            COCO,
            "parts of a split: train2017, val2017. ROOT/annotations/instances_train2017.json has polygons of COCO.",
        ),
        (
            ["annotations/a.json", "annotations/b.json", "images/{}.jpg"],
            COCO,
            "each into a folder of its own in ROOT/masks.",
        ),
        (["train/a.json", "train/images/{}.jpg"], COCO, "Run mmtl convert_masks ROOT/train/a.json ROOT/masks/train."),
        (["images/{}.jpg", "a.json", "masks/b/{}.png"], COCO, " ROOT/masks has masks already: give them the paths"),
        (["images/{}.jpg", "a.json"], PANOPTIC, "got no mask. `mmtl convert_masks` makes masks of polygons."),
        (["{}.png", "{}_Mask.png"], {}, "cd ROOT && mkdir images masks && mv *_Mask.png masks/ && mv *.png images/"),
    ],
)
def test_a_refused_layout_that_is_known_has_the_command_to_go_on(tmp_path, files, content, hint):
    for name in (name.format(i) for name in files for i in range(3)):
        if name.endswith("json"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(json.dumps(content))
        else:
            write(tmp_path, name)
    with pytest.raises(ValueError) as error:
        find_images(tmp_path, 0.2)
    assert hint.replace("ROOT", str(tmp_path)) in str(error.value)
    assert not ("images/{}.jpg" in files and "Move" in str(error.value))
