"""Which folders are classes, and which are parts of a split or something else."""

import pytest
from helpers.start_folders import write
from PIL import Image

from mmtl.apis.start.folder import find_images
from mmtl.apis.start.found_images import describe


def write_noise(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((40, 40), 90).save(path)


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
