import numpy as np
import pytest
from helpers.ramp_samples import apply_affine, ramp_sample, worst_error
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.datasets.transforms.auto_augment import RANDAUG_POLICIES
from mmpretrain.registry import TRANSFORMS

from mmtl.datasets.transforms.geometry import rotate_affine, shear_affine, translate_affine

TIMM = dict(policies="timm_increasing", num_policies=2, magnitude_level=9, magnitude_std=0.5, total_level=10)
COMMON = dict(prob=1.0, pad_val=0)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    "config",
    [
        dict(type="mmtl.Rotate", magnitude_range=(0, 45)),
        dict(type="mmtl.Rotate", magnitude_range=(0, 45), center=(30, 12), scale=1.3),
        dict(type="mmtl.Shear", magnitude_range=(0, 0.5), direction="horizontal"),
        dict(type="mmtl.Shear", magnitude_range=(0, 0.5), direction="vertical"),
        dict(type="mmtl.Translate", magnitude_range=(0, 0.4), direction="horizontal"),
        dict(type="mmtl.Translate", magnitude_range=(0, 0.4), direction="vertical"),
    ],
    ids=lambda config: "-".join(map(str, config.values())),
)
@settings(max_examples=20, deadline=None)
@given(image_hw=st.tuples(st.integers(40, 130), st.integers(40, 130)), seed=st.integers(0, 2**32 - 1))
def test_view_is_where_every_pixel_came_from(config, interpolation, image_hw, seed):
    np.random.seed(seed)
    policy = TRANSFORMS.build(dict(**config, **COMMON, magnitude_std="inf", interpolation=interpolation))
    # Three steps of the 8-bit color; nearest neighbour moves a pixel by up to half its size.
    tolerance = 3 / 255 + (0.5 / min(image_hw) if interpolation == "nearest" else 0)
    assert worst_error(policy(ramp_sample(image_hw))) < tolerance


def test_skipped_policy_leaves_the_view():
    results = TRANSFORMS.build(dict(type="mmtl.Rotate", angle=30, prob=0.0))(ramp_sample((40, 50)))
    assert "view_affine" not in results


@pytest.mark.parametrize("preset", sorted(RANDAUG_POLICIES))
def test_draws_and_pixels_are_the_parents(preset):
    settings = dict(TIMM, policies=preset, hparams=dict(pad_val=(1, 2, 3), interpolation="bicubic"))
    ours = TRANSFORMS.build(dict(type="mmtl.RandAugment", **settings))
    parents = TRANSFORMS.build(dict(type="RandAugment", **settings))
    for seed in range(40):
        np.random.seed(seed)
        expected = parents(ramp_sample((50, 70)))["img"]
        np.random.seed(seed)
        np.testing.assert_array_equal(ours(ramp_sample((50, 70)))["img"], expected)


def test_every_moving_policy_of_a_preset_is_swapped():
    ours = TRANSFORMS.build(dict(type="mmtl.RandAugment", **TIMM))
    moved = [type(policy).__module__.split(".")[0] for policy in ours if hasattr(policy, "local_affine")]
    assert moved == ["mmtl"] * 5  # rotate, shear and translate, the last two in both directions
    assert not {policy["type"] for policy in ours.policies} & {"Rotate", "Shear", "Translate"}


@pytest.mark.parametrize("kind", ["Rotate", "mmpretrain.Rotate", "mmtl.Rotate"])
def test_own_policies_keep_their_arguments(kind):
    policies = [dict(type=kind, magnitude_range=(0, 10), prob=1.0), dict(type="Invert")]
    ours = TRANSFORMS.build(dict(type="mmtl.RandAugment", policies=policies, num_policies=1, magnitude_level=5))
    assert ours.policies[0]["type"] == "mmtl.Rotate" and ours.transforms[0].prob == 1.0
    assert policies[0]["type"] == kind


def test_unknown_preset_names_the_choices():
    with pytest.raises(ValueError, match="preset of .*'timm_increasing'.*'timm'"):
        TRANSFORMS.build(dict(type="mmtl.RandAugment", **dict(TIMM, policies="timm")))


def test_a_policy_that_is_only_a_name_is_refused():
    with pytest.raises(ValueError, match="policies must be dictionaries .* got 'Invert'"):
        TRANSFORMS.build(dict(type="mmtl.RandAugment", **dict(TIMM, policies=[dict(type="AutoContrast"), "Invert"])))


def test_convention_positive_angle_turns_clockwise():
    """What is at the top of the image after a quarter turn clockwise was at its left before."""
    quarter = rotate_affine(90, (50, 50))
    np.testing.assert_allclose(apply_affine(quarter, np.array([[0.5, 0.1]])), [[0.1, 0.5]], atol=1e-12)


def test_convention_shear_and_translation_move_the_content_towards_larger_coordinates():
    low = np.array([[0.5, 0.9]])
    assert apply_affine(shear_affine(0.2, "horizontal", (50, 50)), low)[0, 0] < 0.5
    np.testing.assert_allclose(apply_affine(translate_affine(0.2, "vertical"), low), [[0.5, 0.7]])


def test_rotation_of_a_wide_image_is_a_shear_in_its_unit_square():
    """In pixels the angle is kept, so on a 2:1 image a unit step down moves half as far to the side."""
    eighth = rotate_affine(-45, (50, 100))
    np.testing.assert_allclose(abs(eighth[0, 1]), 0.5 * abs(eighth[0, 0]))
    np.testing.assert_allclose(abs(eighth[1, 0]), 2 * abs(eighth[1, 1]))
