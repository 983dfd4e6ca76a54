"""What an annotator said about one image: the top k classes of every cell."""

from typing import NamedTuple

import numpy as np


class ScoreMapStoreError(ValueError):
    """A score map store is damaged, unfinished or does not fit what is asked of it."""


class ScoreMap(NamedTuple):
    """The k best classes of each cell of one image.

    A map covers the whole image, squashed to the grid: cell (row i, column j) is the i-th of h equal bands
    from the top and the j-th of w equal bands from the left.

    Attributes:
        scores: float16 [h, w, k], logits, best first.
        classes: uint16 or uint32 [h, w, k], class indices in [0, K).
        log_norm: float16 [h, w], log-sum-exp over all K logits; None when the annotator did not give it.
    """

    scores: np.ndarray
    classes: np.ndarray
    log_norm: np.ndarray | None = None
