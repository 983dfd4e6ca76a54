"""What `mmtl start` finds in folders as people have them."""

import json
import zlib

import pytest
from PIL import Image

from mmtl.apis.start.folder import find_images
from mmtl.apis.start.found_images import describe
from mmtl.apis.start.image_masks import match_masks
from mmtl.apis.start.split import stratified_split
from mmtl.apis.start.start import Wishes, start
from mmtl.utils.read_image import is_complete


def write(root, *keys, size=(8, 8)):
    """Write blank images, each of another color."""
    for key in keys:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, tuple(zlib.crc32(key.encode()).to_bytes(4)[:3])).save(root / key, format="PNG")


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


def test_a_val_folder_is_the_split_and_its_classes_have_the_indices_of_training(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", "Validation/c/2.png")
    found = find_images(tmp_path, 0.2)
    assert found.has_val and found.split.val == [("Validation/c/2.png", 2)] and len(found.split.train) == 3
    write(tmp_path, "Validation/d/2.png")
    with pytest.raises(
        ValueError, match=r"'d' is not a class folder of .*/train, which has a, b, c. Rename it to one"
    ):
        find_images(tmp_path, 0.2)
    write(tmp_path, "Validation/C/2.png")
    with pytest.raises(ValueError, match=r"'C' is .* Rename it to 'c', if .* or add training images in .*/train/C\."):
        find_images(tmp_path, 0.2)


@pytest.mark.parametrize("held_out", ["val", "Test"])
def test_a_val_folder_beside_the_class_folders_is_the_split_and_no_class(tmp_path, held_out):
    """Guards: it was a third class, whose images were those of the others."""
    write(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(3)), f"{held_out}/b/9.png")
    found = find_images(tmp_path, 0.2)
    assert found.classes == ("a", "b") and found.has_val and len(found.split.train) == 6 and not found.empty
    assert found.split.val == [(f"{held_out}/b/9.png", 1)]
    write(tmp_path, f"{held_out}/c/9.png")
    with pytest.raises(ValueError, match="'c' is not a class folder of .*, which has a, b. Rename it"):
        find_images(tmp_path, 0.2)


def test_a_val_folder_beside_images_and_masks_is_the_split(tmp_path):
    write(tmp_path, *(f"{kind}/{i}.png" for kind in ("images", "masks") for i in range(4)))
    write(tmp_path, "val/images/9.png", "val/masks/9.png")
    split = find_images(tmp_path, 0.2).split
    assert len(split.train) == 4 and split.val == [("val/images/9.png", "val/masks/9.png")]


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


def test_a_folder_above_that_of_the_classes_is_named(tmp_path):
    write(tmp_path, *(f"my photos/{name}/{i}.png" for name in ("dog", "cat") for i in range(4)))
    command = f"mmtl start '{tmp_path}/my photos'"
    with pytest.raises(ValueError, match=f"If this has the classes, run {command}."):
        find_images(tmp_path, 0.2)
    write(tmp_path, "work_dirs/photos/1.png")
    warning = "WARNING: all class folders have their images in subfolders: if"
    assert f"{warning} {tmp_path}/my photos has the classes, run {command}" in describe(find_images(tmp_path, 0.2))
    write(tmp_path, "work_dirs/1.png")  # classes may have images in folders
    assert command not in str(describe(find_images(tmp_path, 0.2)))


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


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_folders_and_classes_that_lack_images_are_named(tmp_path, prefix):
    write(tmp_path, *(f"{prefix}{name}/{i}.png" for name, n in (("a", 4), ("b", 1), ("c", 1)) for i in range(n)))
    for name in ("none", "no images", ".hidden"):
        (tmp_path / prefix / name).mkdir()
    (tmp_path / prefix / "none/x.txt").touch()
    if prefix:
        write(tmp_path, "val/a/0.png")
    lines = [line for line in describe(find_images(tmp_path, 0.25)) if "WARNING" in line]
    assert lines[0] == "WARNING: folders without an image are left out: no images, none"
    assert lines[1].startswith("WARNING: classes without a validation image") and lines[1].endswith(": b, c")
    assert ("a single image" in lines[1]) == (not prefix)
    assert lines[2:] == ["WARNING: classes with one training image: b, c"] * bool(prefix)


def test_sizes_are_those_of_upright_images(tmp_path):
    write(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(2)), size=(20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "a/0.png", exif=exif)
    assert sorted(find_images(tmp_path, 0.5).sizes) == [(10, 20), (20, 10), (20, 10), (20, 10)]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/x.jpg", "masks/x.png"),
        ("images/train/x.jpg", "annotations/train/x.png"),
        ("train/images/x.JPG", "train/labels/x_mask.png"),
        ("JPEGImages/x.jpg", "SegmentationClass/x.png"),
        ("img/x.png", "GT/x_gtFine_labelIds.png"),
        ("leftImg8bit/train/a/x_leftImg8bit.png", "gtFine/train/a/x_gtFine_labelIds.png"),
        ("leftImg8bit/train/a/x_leftImg8bit.png", "gtFine/train/a/x_gtFine_labelTrainIds.png"),
    ],
)
def test_images_and_masks_are_paired_by_name(image, mask):
    assert match_masks([image, mask, "images/alone.jpg", "readme/x.png"])[0] == [(image, mask)]


def test_train_ids_of_cityscapes_are_preferred():
    image, mask = "leftImg8bit/val/a/x_leftImg8bit.png", "gtFine/val/a/x_gtFine_{}.png"
    kinds = ("color", "instanceIds", "labelIds", "labelTrainIds")
    assert match_masks([image, *map(mask.format, kinds)])[0] == [(image, mask.format("labelTrainIds"))]


LABELME = dict(shapes=[])
COCO = dict(images=[], annotations=[], categories=[])
PANOPTIC = COCO | dict(annotations=[dict(segments_info=[dict(id=1)])])
MOVE = "mkdir images masks && mv *.png masks/ && mv *.jpg images/"


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


def test_images_without_mask_and_masks_without_image_are_named(tmp_path):
    write(tmp_path, *(f"images/{i}.png" for i in range(8)), *(f"masks/{i}.png" for i in range(4)), "masks/z.png")
    found = find_images(tmp_path, 0.2)
    assert len(found.split.train + found.split.val) == 4
    assert found.without_mask == [f"images/{i}.png" for i in range(4, 8)] and found.without_image == ["masks/z.png"]
    lines = describe(found)
    assert (
        "4 images have no mask of the same name and are left out: images/4.png, images/5.png, images/6.png and 1 more"
        in lines
    )
    assert "1 mask has no image of the same name and is left out: masks/z.png" in lines


def test_masks_in_split_folders_keep_the_split(tmp_path):
    keys = [f"{split}/{i}" for split, n in (("train", 4), ("val", 2)) for i in range(n)]
    write(tmp_path, *(f"images/{key}.png" for key in keys), *(f"masks/{key}.png" for key in keys))
    found = find_images(tmp_path, 0.2)
    assert not found.classes and found.has_val and len(found.split.train) == 4
    assert found.split.val == [(f"images/val/{i}.png", f"masks/val/{i}.png") for i in range(2)]


def write_voc(root, train, val, folder="ImageSets/Segmentation"):
    write(root, *(f"{kind}/{i}.png" for kind in ("JPEGImages", "SegmentationClass") for i in range(6)))
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, lines in (("train", train), ("val", val)):
        (root / folder / f"{name}.txt").write_text("\n".join([*lines, ""]))
    return find_images(root, 0.2)


@pytest.mark.parametrize("line", ["{}", "{}.png", "JPEGImages/{}.png SegmentationClass/{}.png", "./JPEGImages/{}.png"])
def test_lists_of_voc_are_the_split(tmp_path, line):
    """Guards: the split was random."""
    names = [line.replace("{}", str(i)) for i in (3, 0, 4, 5, 7)]
    write_voc(tmp_path, ["x"], ["y"], "ImageSets/Main")
    found = write_voc(tmp_path, names[:2], names[2:])
    assert [image for image, _ in found.split.train] == ["JPEGImages/0.png", "JPEGImages/3.png"]
    assert [mask for _, mask in found.split.val] == ["SegmentationClass/4.png", "SegmentationClass/5.png"]
    lists = "ImageSets/Segmentation/train.txt and ImageSets/Segmentation/val.txt"
    assert found.has_val and found.lists == f"the split is that of {lists}, without 2 images that they do not name"


@pytest.mark.parametrize(
    ("train", "val", "reason"),
    [
        (["a", "b", "0"], ["1"], "most of their names are not those of pairs"),
        (["0", "1"], [], "most of their names are not those of pairs"),
        (["0", "1"], ["1"], "both name the same image"),
    ],
)
def test_lists_that_cannot_be_the_split_are_named(tmp_path, train, val, reason):
    found = write_voc(tmp_path, train, val)
    assert not found.has_val and "val.txt are not used for the split: " + reason in found.lists
    (tmp_path / "ImageSets/Segmentation/val.txt").unlink()
    assert find_images(tmp_path, 0.2).lists.startswith("ImageSets/Segmentation/train.txt is not used for the split: ")


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("img/{}.png", "lbl/{}_L.png"),
        ("Photo/{}.png", "Ground_Truth/{}.png"),
        ("train/IMG/{}.png", "train/Labels/{}-label.png"),
        ("frames/{}_l.png", "ann/{}_l.png"),
        ("raw images/{}.png", "seg masks/{}_color_mask.png"),
    ],
)
def test_usual_names_of_mask_folders_are_recognized(images, masks):
    keys = [name.format(i) for name in (images, masks) for i in range(2)]
    assert match_masks(keys)[0] == [(images.format(i), masks.format(i)) for i in range(2)]


def write_noise(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((40, 40), 90).save(path)


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_two_folders_of_which_one_looks_like_masks_are_not_taken_for_classes(tmp_path, prefix):
    for i in range(4):
        write_noise(tmp_path / f"{prefix}street/000{i}.jpg")
        write(tmp_path, f"{prefix}truth/000{i}_L.png", size=(40, 40))
    with pytest.raises(ValueError, match=f"those of {prefix}truth/ look like masks, .*0000_L.png. .* rename"):
        find_images(tmp_path, 0.25)


def test_class_folders_of_photos_with_the_same_names_are_accepted(tmp_path):
    for name in ("cat", "masked"):
        for i in range(4):
            write_noise(tmp_path / f"{name}/000{i}.png")
    found = find_images(tmp_path, 0.25)
    assert found.classes == ("cat", "masked")
    assert describe(found)[0].startswith("8 images in 2 classes (cat, masked), ")
