"""How well the probabilities of score maps are calibrated."""

from dataclasses import dataclass

import numpy as np

NUM_BINS = 15  # as in Guo et al., On Calibration of Modern Neural Networks, ICML 2017


@dataclass(frozen=True)
class Reliability:
    """Predictions in bins of equal width by their probability.

    Attributes:
        counts: Number of predictions of each bin, [n].
        confidence: Their mean probability, [n], NaN in empty bins.
        accuracy: Share of them that is right, [n], NaN in empty bins.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: mean distance of confidence and accuracy, weighted by the bins' counts."""
        return float(np.nansum(self.counts * np.abs(self.accuracy - self.confidence)) / self.counts.sum())


class ReliabilityCounter:
    """Adds predictions up to a `Reliability`."""

    def __init__(self) -> None:
        self._sums = np.zeros((3, NUM_BINS))  # counts, probabilities, right predictions

    def add(self, probabilities: np.ndarray, is_right: np.ndarray) -> None:
        """Add predictions of any shape."""
        flat = np.minimum(probabilities.ravel(), 1)
        bins = np.minimum((flat * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        for row, weights in zip(self._sums, (None, flat, is_right.ravel()), strict=True):
            row += np.bincount(bins, weights, NUM_BINS)

    def result(self) -> Reliability | None:
        """Return the result; None without a prediction."""
        counts = self._sums[0]
        if not counts.any():
            return None
        with np.errstate(invalid="ignore"):
            return Reliability(counts.astype(np.int64), *(self._sums[1:] / counts))
