import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from mmtl.evaluation.confusion_matrix import confusion_counts, row_shares, worst_confusions


@pytest.fixture
def labels():
    """Predictions and truths of 5 classes with ignored pixels and a label beyond the classes."""
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randint(5, (20, 30), generator=generator)
    truth = torch.randint(7, (20, 30), generator=generator)
    truth[truth == 6] = 255
    return prediction, truth


@pytest.mark.parametrize("ignore_index", [255, 0])
def test_counts_equal_a_naive_loop(labels, ignore_index):
    naive = np.zeros((5, 5), int)
    for predicted, true in zip(*(x.flatten().tolist() for x in labels), strict=True):
        if true < 5 and true != ignore_index:
            naive[true, predicted] += 1
    assert np.array_equal(confusion_counts(*labels, 5, ignore_index), naive)


def test_intersections_and_unions_of_mmseg_are_sums_of_the_matrix(labels):
    prediction, truth = labels
    truth = truth.where(truth != 5, 255)  # mmseg lets such pixels count as predicted ones
    counts = confusion_counts(prediction, truth, 5).double()
    intersect, union, predicted, true = IoUMetric.intersect_and_union(prediction, truth.clone(), 5, 255)
    assert torch.equal(counts.diagonal().float(), intersect)
    assert torch.equal((counts.sum(0) + counts.sum(1) - counts.diagonal()).float(), union)
    assert torch.equal(counts.sum(0).float(), predicted) and torch.equal(counts.sum(1).float(), true)


def test_rows_sum_to_one_and_a_class_without_pixels_has_no_row():
    shares = row_shares(np.array([[3, 1, 0], [0, 0, 0], [2, 2, 4]]))
    assert np.allclose(shares[[0, 2]].sum(1), 1) and np.isnan(shares[1]).all()


def test_worst_confusions_come_largest_first_without_the_diagonal():
    worst = worst_confusions(np.array([[6, 4, 0], [1, 0, 0], [0, 0, 9]]), "abc")
    assert worst == [("b", "a", 1.0), ("a", "b", pytest.approx(0.4))]
