import numpy as np
import pytest
from helpers.ramp_samples import ramp_sample, worst_error
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms.utils import cache_random_params
from mmpretrain.registry import TRANSFORMS

sizes = st.tuples(st.integers(40, 130), st.integers(40, 130))
seeds = st.integers(0, 2**32 - 1)

MOVING = [
    dict(type="mmtl.RandomResizedCrop", scale=(60, 80), crop_ratio_range=(0.3, 1.0)),
    dict(type="mmtl.RandomResizedCrop", scale=(60, 80), crop_ratio_range=(0.3, 1.0), backend="torch"),
    dict(type="mmtl.RandomFlip", prob=1.0, direction="horizontal"),
    dict(type="mmtl.RandomFlip", prob=1.0, direction="vertical"),
    dict(type="mmtl.RandomFlip", prob=1.0, direction="diagonal"),
    dict(type="mmtl.Resize", scale=(90, 50)),
    dict(type="mmtl.Resize", scale=(90, 50), keep_ratio=True),
    dict(type="mmtl.ResizeEdge", scale=64, edge="short"),
    dict(type="mmtl.CenterCrop", crop_size=(70, 50)),
    dict(type="mmtl.CenterCrop", crop_size=120, auto_pad=True),
    dict(type="mmtl.Pad", size_divisor=32),
    dict(type="mmtl.Pad", pad_to_square=True),
]


@pytest.mark.parametrize("config", MOVING, ids=lambda config: "-".join(map(str, config.values())))
@settings(max_examples=15, deadline=None)
@given(image_hw=sizes, seed=seeds)
def test_view_is_where_every_pixel_came_from(config, image_hw, seed):
    np.random.seed(seed)
    results = TRANSFORMS.build(config)(ramp_sample(image_hw))
    # Crops replicate their border when they are enlarged: half a source pixel, at most 1/80 of an image.
    assert worst_error(results) < 0.5 / min(image_hw) + 2 / 255


@pytest.mark.parametrize(
    ("ours", "parents"),
    [
        (dict(type="mmtl.RandomResizedCrop", scale=32), dict(type="RandomResizedCrop", scale=32)),
        (
            dict(type="mmtl.RandomFlip", prob=0.7, direction=["horizontal", "vertical"]),
            dict(type="RandomFlip", prob=0.7, direction=["horizontal", "vertical"]),
        ),
    ],
    ids=["crop", "flip"],
)
def test_draws_and_pixels_are_the_parents(ours, parents):
    ours, parents = TRANSFORMS.build(ours), TRANSFORMS.build(parents)
    for seed in range(20):
        np.random.seed(seed)
        expected = parents(ramp_sample((50, 70)))["img"]
        np.random.seed(seed)
        np.testing.assert_array_equal(ours(ramp_sample((50, 70)))["img"], expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [(), (1,), (3,)], ids=["HW", "HW1", "HW3"])
def test_crop_by_torch_has_the_draws_of_the_parent_and_the_pixels_of_pillow(interpolation, channels):
    torchs, pillows = (
        TRANSFORMS.build(dict(type=kind, scale=(40, 56), backend=backend, interpolation=interpolation))
        for kind, backend in (("mmtl.RandomResizedCrop", "torch"), ("RandomResizedCrop", "pillow"))
    )
    for seed in range(20):
        image = np.random.default_rng(seed).integers(0, 256, (90, 120, *channels), dtype=np.uint8)
        np.random.seed(seed)
        results = torchs(dict(img=image))
        np.random.seed(seed)
        expected = pillows(dict(img=image.squeeze(2) if channels == (1,) else image))["img"]
        assert results["img"].shape == results["img_shape"] == (40, 56, *channels)
        difference = np.abs(results["img"].reshape(expected.shape).astype(int) - expected)
        assert difference.mean() < 0.5  # of noise; PyTorch rounds its weights


@pytest.mark.parametrize("interpolation", ["nearest", ("bilinear", "lanczos")])
def test_crop_by_torch_refuses_other_interpolations(interpolation):
    with pytest.raises(ValueError, match="backend='torch', got '(nearest|lanczos)'"):
        TRANSFORMS.build(dict(type="mmtl.RandomResizedCrop", scale=16, backend="torch", interpolation=interpolation))


def test_random_interpolation_draws_bilinear_and_bicubic_alike():
    crop = TRANSFORMS.build(dict(type="mmtl.RandomResizedCrop", scale=16, interpolation="random"))
    np.random.seed(0)
    used = []
    for _ in range(400):
        crop(ramp_sample((40, 50)))
        used.append(crop.interpolation)
    assert set(used) == {"bilinear", "bicubic"}
    assert abs(used.count("bicubic") - 200) < 50


def test_cached_randomness_repeats_crop_and_view():
    crop = TRANSFORMS.build(dict(type="mmtl.RandomResizedCrop", scale=16, interpolation="random"))
    np.random.seed(1)
    with cache_random_params([crop]):
        first, second = crop(ramp_sample((40, 50))), crop(ramp_sample((40, 50)))
    np.testing.assert_array_equal(first["img"], second["img"])
    np.testing.assert_array_equal(first["view_affine"], second["view_affine"])


def test_parent_class_does_not_inherit_our_draw():
    from mmpretrain.datasets.transforms import RandomResizedCrop

    assert "random_interpolation" not in RandomResizedCrop._methods_with_randomness


def test_flipping_twice_restores_image_and_view():
    flip = TRANSFORMS.build(dict(type="mmtl.RandomFlip", prob=1.0))
    results = flip(flip(ramp_sample((40, 50))))
    np.testing.assert_array_equal(results["img"], ramp_sample((40, 50))["img"])
    np.testing.assert_allclose(results["view_affine"], np.eye(2, 3), atol=1e-12)


def test_no_interpolation_is_refused():
    with pytest.raises(ValueError, match="empty"):
        TRANSFORMS.build(dict(type="mmtl.RandomResizedCrop", scale=16, interpolation=()))
