"""Images are paired with masks, and split by folders or lists."""

import pytest
from helpers.start_folders import write

from mmtl.apis.start.folder import find_images
from mmtl.apis.start.found_images import describe
from mmtl.apis.start.image_masks import match_masks


def write_voc(root, train, val, folder="ImageSets/Segmentation"):
    write(root, *(f"{kind}/{i}.png" for kind in ("JPEGImages", "SegmentationClass") for i in range(6)))
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, lines in (("train", train), ("val", val)):
        (root / folder / f"{name}.txt").write_text("\n".join([*lines, ""]))
    return find_images(root, 0.2)


def test_a_val_folder_beside_images_and_masks_is_the_split(tmp_path):
    write(tmp_path, *(f"{kind}/{i}.png" for kind in ("images", "masks") for i in range(4)))
    write(tmp_path, "val/images/9.png", "val/masks/9.png")
    split = find_images(tmp_path, 0.2).split
    assert len(split.train) == 4 and split.val == [("val/images/9.png", "val/masks/9.png")]


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
