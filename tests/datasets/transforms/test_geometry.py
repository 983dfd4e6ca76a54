import numpy as np
import pytest
from helpers.ramp_samples import apply_affine
from hypothesis import given
from hypothesis import strategies as st

from mmtl.datasets.transforms.geometry import (
    compose,
    crop_affine,
    flip_affine,
    identity_affine,
    invert,
    pad_affine,
    pixel_affine_to_unit,
)

sizes = st.tuples(st.integers(2, 500), st.integers(2, 500))
affines = st.lists(st.floats(-2, 2), min_size=6, max_size=6).map(lambda numbers: np.reshape(numbers, (2, 3)))
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


@given(affines, affines)
def test_composing_applies_the_inner_map_first(outer, inner):
    direct = apply_affine(outer, apply_affine(inner, CORNERS))
    np.testing.assert_allclose(apply_affine(compose(outer, inner), CORNERS), direct, atol=1e-12)


@given(affines.filter(lambda affine: abs(np.linalg.det(affine[:, :2])) > 1e-2))
def test_inverse_undoes(affine):
    np.testing.assert_allclose(compose(invert(affine), affine), identity_affine(), atol=1e-9)


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
def test_flipping_twice_is_the_identity(direction):
    flip = flip_affine(direction)
    assert not np.array_equal(flip, identity_affine())
    np.testing.assert_array_equal(compose(flip, flip), identity_affine())


def test_diagonal_flip_is_both_flips():
    both = compose(flip_affine("horizontal"), flip_affine("vertical"))
    np.testing.assert_array_equal(flip_affine("diagonal"), both)


def test_unknown_flip_names_the_choices():
    with pytest.raises(ValueError, match="got 'up'"):
        flip_affine("up")


def test_convention_x_runs_right_and_comes_first():
    left_half_of_a_wide_image = crop_affine((0, 0, 50, 40), (40, 100))
    np.testing.assert_allclose(apply_affine(left_half_of_a_wide_image, CORNERS)[-1], [0.5, 1.0])
    np.testing.assert_allclose(apply_affine(flip_affine("horizontal"), np.array([[0.1, 0.3]])), [[0.9, 0.3]])


def test_convention_image_corners_are_zero_and_one():
    complete = crop_affine((0, 0, 100, 40), (40, 100))
    np.testing.assert_array_equal(complete, identity_affine())


def test_convention_pixel_centers_are_at_half_indices():
    index_two_from_index_zero = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    unit = pixel_affine_to_unit(index_two_from_index_zero, (8, 10), (8, 10))
    np.testing.assert_allclose(apply_affine(unit, np.array([[0.5 / 10, 0.5 / 8]])), [[2.5 / 10, 0.5 / 8]])


def test_convention_boxes_end_before_x2_and_y2():
    last_pixel = crop_affine((9, 7, 10, 8), (8, 10))
    np.testing.assert_allclose(apply_affine(last_pixel, CORNERS)[-1], [1.0, 1.0])


@given(sizes, sizes)
def test_resize_between_pixel_indices_is_the_identity(input_hw, output_hw):
    """Pixel i of n shows pixel (i + 0.5) * m / n - 0.5 of m: what half-pixel resizing computes."""
    scale_x, scale_y = input_hw[1] / output_hw[1], input_hw[0] / output_hw[0]
    resize = np.array([[scale_x, 0.0, 0.5 * scale_x - 0.5], [0.0, scale_y, 0.5 * scale_y - 0.5]])
    unit = pixel_affine_to_unit(resize, input_hw, output_hw)
    np.testing.assert_allclose(unit, identity_affine(), atol=1e-9)


@given(sizes, st.tuples(*[st.integers(0, 50)] * 4))
def test_cropping_the_padding_away_is_the_identity(image_hw, padding_ltrb):
    left, top, right, bottom = padding_ltrb
    padded_hw = image_hw[0] + top + bottom, image_hw[1] + left + right
    crop = crop_affine((left, top, left + image_hw[1], top + image_hw[0]), padded_hw)
    np.testing.assert_allclose(compose(pad_affine(padding_ltrb, image_hw), crop), identity_affine(), atol=1e-9)
