import numpy as np
import pytest
from helpers.score_map_makers import random_map

from mmtl.score_maps import ScoreMap
from mmtl.score_maps.agreement import agreement, on_grid, total_variation
from mmtl.score_maps.calibration import ReliabilityCounter


def full_map(probabilities):
    """A map that lists all classes."""
    logits = np.log(probabilities)
    order = np.argsort(-logits, axis=-1)
    return ScoreMap(np.take_along_axis(logits, order, -1), order, np.zeros(logits.shape[:2]))


def test_predictions_that_are_right_as_often_as_they_are_probable_are_calibrated():
    counter, rng = ReliabilityCounter(), np.random.default_rng(0)
    probabilities = rng.random((100, 1000))
    for row in probabilities:
        counter.add(row, rng.random(1000) < row)
    assert counter.result().error < 0.01 and counter.result().counts.sum() == 100_000


def test_the_error_is_the_mean_distance_of_probability_and_accuracy():
    counter = ReliabilityCounter()
    counter.add(np.array([[1.0, 1.0], [0.11, 0.13]]), np.array([[True, False], [False, False]]))
    result = counter.result()
    assert result.error == pytest.approx(0.5 * 0.5 + 0.5 * 0.12)
    assert result.counts[[1, 14]].tolist() == [2, 2] and np.isnan(result.accuracy[5])
    assert ReliabilityCounter().result() is None


def test_total_variation_is_that_of_the_full_distributions():
    rng = np.random.default_rng(0)
    first, second = rng.dirichlet(np.ones(6), (2, 2, 3))
    expected = np.abs(first - second).sum(-1) / 2
    np.testing.assert_allclose(total_variation(full_map(first), full_map(second), 6), expected)
    sure = ScoreMap(np.array([[[0.0]]]), np.array([[[2]]]), np.array([[0.0]]))
    half = ScoreMap(np.log([[[0.5]]]), np.array([[[1]]]), np.array([[0.0]]))  # the other classes have 0.1 each
    assert total_variation(sure, half, 6).item() == pytest.approx(0.9)


def test_equal_maps_agree_and_maps_of_other_classes_do_not():
    score_map = random_map(np.random.default_rng(0))
    same = agreement([(score_map, score_map)] * 2, 10)
    assert (same.maps, same.same_cells, same.same_maps, same.distance) == (2, 1, 1, 0)
    sure = ScoreMap(np.full((2, 2, 1), 5.0), np.zeros((2, 2, 1), int), np.full((2, 2), 5.0))
    other = agreement([(sure, sure._replace(classes=sure.classes + 1))], 3)
    assert (other.same_cells, other.same_maps) == (0, 0) and other.quantiles == (1, 1, 1)


def test_a_cell_of_another_grid_is_the_one_at_the_center():
    score_map = ScoreMap(np.zeros((2, 4, 1)), np.arange(8).reshape(2, 4, 1))
    assert on_grid(score_map, (1, 2)).classes[..., 0].tolist() == [[5, 7]]
    assert on_grid(score_map, (4, 4)).classes[:, 0, 0].tolist() == [0, 0, 4, 4]
    assert on_grid(score_map, (2, 4)).classes.tolist() == score_map.classes.tolist()
