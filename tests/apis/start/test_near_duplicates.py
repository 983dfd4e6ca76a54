"""Near-duplicates of a class are in one part of the split that `mmtl start` makes."""

from itertools import chain, product

import numpy as np
import pytest
from PIL import Image

from mmtl.apis.start import folder as folders
from mmtl.apis.start.folder import find_images
from mmtl.apis.start.found_images import describe
from mmtl.apis.start.near_duplicates import find_near_duplicates
from mmtl.apis.start.split import stratified_split, take_groups

LEAK = "near-duplicates, such as frames of one video, may be in both parts"


def write_photo(path, seed: int, frame: int = 0, **options):
    """Write smooth noise, of which other frames are moved, brighter and noisier, as in a burst."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    photo = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((128, 96), Image.Resampling.BICUBIC)
    pixels = np.asarray(photo.crop((frame, frame, 120 + frame, 90 + frame)), float) * (1 + 0.05 * frame)
    pixels += np.random.default_rng([seed, frame]).normal(0, 5, pixels.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, **options)


@pytest.mark.parametrize("val_share", [0.1, 0.2, 0.5, 0.8])
def test_frames_of_a_burst_are_in_one_part(tmp_path, val_share):
    for name, burst, frame in product("ab", range(10), range(3)):
        write_photo(tmp_path / f"{name}/{3 * burst + frame:02}.jpg", seed=ord(name) * 100 + burst, frame=frame)
    found = find_images(tmp_path, val_share)
    assert len(found.similar) == 20 and not found.in_two and found.split == find_images(tmp_path, val_share).split
    val = {(key[0], int(key[2:4]) // 3) for key, _ in found.split.val}
    assert not val & {(key[0], int(key[2:4]) // 3) for key, _ in found.split.train}
    for index in range(2):
        assert abs(sum(label == index for _, label in found.split.val) / 30 - val_share) < 0.06
    expected = "60 images resemble others of their class (such as a/00.jpg and a/01.jpg): each group is in one part"
    assert expected in describe(found) and LEAK not in str(describe(found))


def test_frames_of_one_scene_are_in_one_part_with_their_masks(tmp_path):
    for scene, frame in product(range(8), range(3)):
        write_photo(tmp_path / f"images/{scene}_{frame}.png", seed=scene, frame=frame)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.new("L", (120, 90), scene % 2).save(tmp_path / f"masks/{scene}_{frame}.png")
    found = find_images(tmp_path, 0.2)
    assert {image[7] for image, _ in found.split.train}.isdisjoint(image[7] for image, _ in found.split.val)
    assert len(found.split.val) == 6 and len(found.split.train) == 18
    assert all(mask == image.replace("images", "masks") for image, mask in found.split.train + found.split.val)
    lines = str(describe(found))
    assert "24 images resemble others (such as images/0_0.png and images/0_1.png): " in lines and LEAK in lines


def test_images_that_differ_are_split_as_by_file(tmp_path):
    """Blank images, thin drawings and icons have little to compare."""
    for name, i in product("ab", range(10)):
        folder = tmp_path / name
        write_photo(folder / f"photo{i}.png", seed=ord(name) * 100 + i)
        scan = np.random.default_rng(i).normal(250, 2, (60, 40, 3))
        Image.fromarray(scan.clip(0, 255).astype(np.uint8)).save(folder / f"scan{i}.jpg")
        icon = np.zeros((32, 32), np.uint8)
        icon[2 * i : 2 * i + 3, 2 * i : 2 * i + 9] = 255
        Image.fromarray(icon).save(folder / f"{name}icon{i}.png")
    found = find_images(tmp_path, 0.2)
    assert found.split == stratified_split(sorted(found.split.train + found.split.val), 0.2) and not found.similar
    assert LEAK not in str(describe(found))


def test_equal_images_of_two_classes_are_named(tmp_path):
    for name, i in product("ab", range(4)):
        write_photo(tmp_path / f"{name}/{i}.jpg", seed=ord(name) * 100 + i)
        Image.new("RGB", (40, 40), "blue" if i else "red").save(tmp_path / f"{name}/z{i}.png")
    assert find_images(tmp_path, 0.25).in_two[0] == ("a/z0.png", "b/z0.png")  # blank, and byte-identical
    for name in "ab":
        for path in (tmp_path / name).glob("z*"):
            path.unlink()
    write_photo(tmp_path / "a/copy.jpg", seed=7)
    write_photo(tmp_path / "b/again.jpg", seed=7, quality=95)
    assert "WARNING: 2 images are in two classes, such as a/copy.jpg and b/again.jpg" in describe(
        find_images(tmp_path, 0.25)
    )


def test_colors_and_images_that_cannot_be_read_resemble_none(tmp_path):
    for name in ("red", "lime"):
        image = Image.new("RGB", (40, 40))
        image.paste(name, (10, 10, 30, 30))
        image.save(tmp_path / f"{name}.png")
    (tmp_path / "x.png").write_bytes(b"no image")
    entries = [("lime.png", 0), ("red.png", 0), ("x.png", 0)]
    assert find_near_duplicates(tmp_path, entries) == ([], [])


def test_too_many_images_are_not_compared(tmp_path, monkeypatch):
    for name, i in product("ab", range(4)):
        write_photo(tmp_path / f"{name}/{i}.jpg", seed=ord(name))
    assert LEAK in str(describe(find_images(tmp_path, 0.25)))  # each class is one group, and split by file
    monkeypatch.setattr(folders, "MAX_SIZES", 7)
    monkeypatch.setattr(folders, "find_near_duplicates", None)
    found = find_images(tmp_path, 0.25)
    assert LEAK in str(describe(found)) and not found.similar


@pytest.mark.parametrize("sizes", [[2], [3, 1], [3, 3], [3, 2], [1] * 10, [95, *[1] * 5], [50, 50], [3] * 7, [2, 1]])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_parts_have_about_their_share_whatever_the_sizes_of_groups(sizes, share):
    groups = [[(number, index) for index in range(size)] for number, size in enumerate(sizes)]
    chosen, total = take_groups(groups, share), sum(sizes)
    count = min(max(1, round(share * total)), total - 1)
    assert 1 <= len(chosen) < total and len(set(chosen)) == len(chosen) and set(chosen) <= set(chain(*groups))
    assert count / 2 <= len(chosen) <= max(1.5 * count, total / 2)
