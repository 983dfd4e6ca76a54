"""The annotator's prediction for one image: the top-k classes of every cell."""

from typing import NamedTuple

import numpy as np


class ScoreMapStoreError(ValueError):
    """A score map store is corrupt or unfinished, or does not fit the request."""


class ScoreMap(NamedTuple):
    """The top-k classes of each cell of one image.

    A map covers the entire image, resized to the grid without keeping the aspect ratio: cell (row i, column j) is the
    i-th of h equal bands from the top and the j-th of w equal bands from the left.

    Attributes:
        scores: float16 [h, w, k], logits in descending order.
        classes: uint16 or uint32 [h, w, k], class indices in [0, K).
        log_norm: float16 [h, w], log-sum-exp over all K logits; None if the annotator did not provide it.
    """

    scores: np.ndarray
    classes: np.ndarray
    log_norm: np.ndarray | None = None
