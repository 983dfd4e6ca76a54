"""Which class is predicted as which: counts, shares and the largest confusions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Confusion(NamedTuple):
    """``share`` (0 to 1) of the pixels of class ``truth`` were predicted as ``prediction``."""

    truth: str
    prediction: str
    share: float


def confusion_counts(prediction: Tensor, truth: Tensor, num_classes: int, ignore_index: int = 255) -> Tensor:
    """Return int64 [K, K] counts of pixels, truth by prediction, for class indices of equal, any shape.

    Pixels whose truth is ``ignore_index`` do not count, nor do those with truth or prediction beyond the classes, such
    as the background that a sigmoid predicts beside a single class.
    """
    truth, prediction = truth.flatten().long(), prediction.flatten().long()
    counted = (truth != ignore_index) & (truth >= 0) & (truth < num_classes) & (prediction < num_classes)
    pairs = truth[counted] * num_classes + prediction[counted]  # index into the flattened [K, K]
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Normalize [K, K] counts so that rows sum to one; rows of classes without a pixel are NaN."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def classes_without_iou(counts: np.ndarray) -> tuple[int, int]:
    """Return the number of classes with IoU 0, and of all that annotations or predictions of [K, K] counts have."""
    hits, occurs = counts.diagonal(), counts.sum(axis=0) + counts.sum(axis=1) > 0
    return int((occurs & (hits == 0)).sum()), int(occurs.sum())


def worst_confusions(counts: np.ndarray, names: Sequence[str], limit: int = 5) -> list[Confusion]:
    """Return the largest off-diagonal shares, largest first."""
    shares = np.nan_to_num(row_shares(counts))
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:limit]
    pairs = zip(*np.unravel_index(order, shares.shape), strict=True)
    return [Confusion(names[i], names[j], float(shares[i, j])) for i, j in pairs if shares[i, j] > 0]
