"""What the masks of a folder contain, by their values."""

import numpy as np
import pytest
from helpers.mask_files import LABELS, save
from PIL import Image

from mmtl.apis.start.masks import find_masks


@pytest.mark.parametrize("values", [[0, 255], [0, 1], [[0, 0, 0], [255, 0, 0]]])
def test_masks_in_a_lossy_format_are_refused_for_their_noise(tmp_path, values):
    noisy = np.array(values, np.uint8)[np.tri(40, dtype=int)]
    Image.fromarray(noisy).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a.jpg: masks must (not have a lossy format|have at most 64 colors)"):
        find_masks([tmp_path / "a.jpg"])


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


def test_a_mask_without_its_end_is_truncated_though_its_pixels_are_complete(tmp_path):
    save(tmp_path / "a.png", LABELS)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"a.png must be a complete image, got .*truncated\). Replace or remove it"):
        find_masks([tmp_path / "a.png"])


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


def test_gray_levels_of_classes_are_not_taken_for_smoothed_borders(tmp_path):
    levels = np.array([0, 43, 85, 128, 170, 213, 255])
    save(tmp_path / "a.png", levels[np.arange(64).reshape(8, 8) % 7])
    assert find_masks([tmp_path / "a.png"]).kind == "gray"
    save(tmp_path / "b.png", np.r_[np.zeros(900), np.full(900, 255), np.arange(150)][None])  # ADE20K
    assert find_masks([tmp_path / "b.png"]).num_classes == 150
