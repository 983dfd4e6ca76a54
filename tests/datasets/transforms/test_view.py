import numpy as np
from helpers.ramp_samples import INSIDE, apply_affine, pixel_centers, ramp_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import Compose
from mmpretrain.registry import TRANSFORMS

from mmtl.datasets.transforms.geometry import crop_affine
from mmtl.datasets.transforms.view import move_view

WARP = dict(prob=1.0, magnitude_std="inf", pad_val=0, interpolation="nearest")
STEPS = [
    dict(type="mmtl.RandomResizedCrop", scale=(120, 150), crop_ratio_range=(0.5, 1), interpolation="nearest"),
    dict(type="mmtl.RandomFlip", prob=0.9, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="mmtl.CenterCrop", crop_size=(110, 90)),
    dict(type="mmtl.Pad", size_divisor=48),
    dict(type="mmtl.Rotate", magnitude_range=(0, 45), **WARP),
    dict(type="mmtl.Shear", magnitude_range=(0, 0.4), direction="horizontal", **WARP),
    dict(type="mmtl.Translate", magnitude_range=(0, 0.3), direction="vertical", **WARP),
]


def margin_to_border(points):
    """How far inside the unit square points lie; negative outside."""
    return 0.5 - np.abs(points - 0.5).max(axis=-1)


@settings(max_examples=150, deadline=None)
@given(
    image_hw=st.tuples(st.integers(90, 160), st.integers(90, 160)),
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_frames_separate_image_from_padding(image_hw, steps, seed):
    np.random.seed(seed)
    results = Compose([TRANSFORMS.build(step) for step in steps])(ramp_sample(image_hw))
    points = pixel_centers(results["img"])
    shows_picture = results["img"][..., 2].ravel() == INSIDE
    frames = results["frame_affines"] if "frame_affines" in results else []
    inside = np.min([np.ones(len(points)), *(margin_to_border(apply_affine(f, points)) for f in frames)], axis=0)
    unclear = np.abs(inside) < 0.04  # up to five nearest-neighbour steps of a pixel of 90, enlarged
    assert (shows_picture == (inside > 0))[~unclear].all()


def test_padding_that_is_cropped_away_leaves_no_frame():
    pad, crop = dict(type="mmtl.Pad", size=(100, 120)), dict(type="mmtl.CenterCrop", crop_size=20)
    padded = TRANSFORMS.build(pad)(ramp_sample((90, 100)))
    assert len(padded["frame_affines"]) == 1
    assert len(TRANSFORMS.build(crop)(padded)["frame_affines"]) == 0


def test_padding_after_a_crop_does_not_show_what_was_cropped_away():
    """The view maps the right half, which is padding, on the original's right half."""
    results = ramp_sample((50, 100))
    results["img"] = results["img"][:, :50]
    move_view(results, (50, 100), crop_affine((0, 0, 50, 50), (50, 100)))
    results = TRANSFORMS.build(dict(type="mmtl.Pad", size=(100, 50)))(results)
    in_the_padding = np.array([[0.75, 0.5]])
    assert margin_to_border(apply_affine(results["view_affine"], in_the_padding)) > 0
    (frame,) = results["frame_affines"]
    assert margin_to_border(apply_affine(frame, in_the_padding)) < 0
