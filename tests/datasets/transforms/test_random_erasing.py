import numpy as np
import pytest
from helpers.ramp_samples import ramp_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import Compose
from mmpretrain.registry import TRANSFORMS

ERASED = (255, 0, 255)
MARGIN = 4  # pixels: two nearest-neighbour resizes, one of them enlarging a small crop
ERASE = dict(type="mmtl.RandomErasing", erase_prob=1.0, fill_color=ERASED, mask_labels=True)
UPRIGHT = [
    dict(type="mmtl.RandomFlip", prob=0.7, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="mmtl.RandomResizedCrop", scale=(90, 120), crop_ratio_range=(0.4, 1.0), interpolation="nearest"),
    dict(type="mmtl.Pad", size=(150, 130)),
    dict(type="mmtl.Resize", scale=(77, 99), interpolation="nearest"),
]


def run(*configs, image_hw=(100, 140)):
    chain = [TRANSFORMS.build(config) for config in (*configs, dict(type="mmtl.PackTokenLabelInputs"))]
    packed = Compose(chain)(ramp_sample(image_hw))
    image = packed["inputs"].numpy()
    erased, padding = ((image == np.array(color)[:, None, None]).all(axis=0) for color in (ERASED, (0, 0, 0)))
    return packed["data_samples"], erased, padding


def in_box(box_xyxy, shape_hw, margin):
    """Return the pixels whose center is in the box, grown by ``margin`` pixels."""
    height, width = shape_hw
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x1, y1, x2, y2 = np.asarray(box_xyxy) * [width, height, width, height]
    return (x > x1 - margin) & (x < x2 + margin) & (y > y1 - margin) & (y < y2 + margin)


@settings(max_examples=60, deadline=None)
@given(order=st.permutations([ERASE, *UPRIGHT]), seed=st.integers(0, 2**32 - 1))
def test_box_is_what_was_erased_at_any_position_of_erasing(order, seed):
    np.random.seed(seed)
    sample, erased, padding = run(*order)
    (box,) = sample.erased_boxes_xyxy.numpy()
    assert not (erased & ~in_box(box, erased.shape, MARGIN)).any()
    assert (erased | padding)[in_box(box, erased.shape, -MARGIN)].all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_box_of_a_rotated_erasure_covers_it(seed):
    np.random.seed(seed)
    turn = dict(type="mmtl.Rotate", magnitude_range=(0, 40), magnitude_std="inf", prob=1.0, pad_val=0)
    shear = dict(type="mmtl.Shear", magnitude_range=(0, 0.3), prob=1.0, pad_val=0, interpolation="nearest")
    sample, erased, _ = run(ERASE, turn, shear)
    assert not (erased & ~in_box(sample.erased_boxes_xyxy[0], erased.shape, MARGIN)).any()


def test_each_masking_erasure_gives_one_box_and_an_idle_one_an_empty_box():
    idle = dict(ERASE, erase_prob=0.0)
    sample, _, _ = run(idle, ERASE, dict(type="mmtl.RandomFlip", prob=1.0), idle)
    boxes = sample.erased_boxes_xyxy.numpy()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert boxes.shape == (3, 4) and areas[1] > 0
    np.testing.assert_allclose(areas[[0, 2]], 0, atol=1e-12)


def test_labels_are_kept_by_default():
    sample, erased, _ = run({**ERASE, "mask_labels": False})
    assert erased.any() and "erased_boxes_xyxy" not in sample


def test_box_goes_with_every_image_also_without_a_score_map():
    boxes = []
    for keys in (("score_map",), ()):
        sample = ramp_sample((100, 140))
        for key in keys:
            del sample[key]
        np.random.seed(0)
        chain = Compose([TRANSFORMS.build(config) for config in (ERASE, dict(type="mmtl.PackTokenLabelInputs"))])
        boxes.append(chain(sample)["data_samples"].erased_boxes_xyxy)
    np.testing.assert_array_equal(*boxes)
    assert boxes[0].shape == (1, 4) and (boxes[0][:, 2:] > boxes[0][:, :2]).all()


def test_boxes_that_are_not_smaller_than_the_image_are_drawn_again():
    config = dict(type="mmtl.RandomErasing", erase_prob=1.0, min_area_ratio=0.3, max_area_ratio=0.6, mask_labels=True)
    long = TRANSFORMS.build(dict(config, aspect_range=(0.2, 5.0)))
    longer = TRANSFORMS.build(dict(config, aspect_range=(90.0, 99.0)))  # never fits: nothing is erased
    for seed in range(200):
        np.random.seed(seed)
        _, _, height, width = long.random_patch(50, 70)
        assert 0 < height < 50 and 0 < width < 70
    assert longer.random_patch(50, 70) == (0, 0, 0, 0)
    np.testing.assert_array_equal(longer(ramp_sample((50, 70)))["img"], ramp_sample((50, 70))["img"])


@pytest.mark.parametrize("mask_labels", [False, True])
def test_draws_and_pixels_are_the_parents(mask_labels):
    ours = TRANSFORMS.build(dict(type="mmtl.RandomErasing", mode="rand", mask_labels=mask_labels))
    parents = TRANSFORMS.build(dict(type="RandomErasing", mode="rand"))
    for seed in range(20):
        np.random.seed(seed)
        expected = parents(ramp_sample((50, 70)))["img"]
        np.random.seed(seed)
        np.testing.assert_array_equal(ours(ramp_sample((50, 70)))["img"], expected)
