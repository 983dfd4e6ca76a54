"""The annotator's prediction for one image: the top-k classes of every cell."""

from typing import NamedTuple

import numpy as np

#: Regions of an image that a map can cover: all of it, or the largest square at its center.
COVERAGES = ("whole", "center-square")


class ScoreMapStoreError(ValueError):
    """A score map store is corrupt or unfinished, or does not fit the request."""


class ScoreMap(NamedTuple):
    """The top-k classes of each cell of one image.

    A map covers the entire image, or the region that its store's `coverage` names, resized to the grid without keeping
    the aspect ratio: cell (row i, column j) is the i-th of h equal bands from the top and the j-th of w equal bands
    from the left.

    Attributes:
        scores: float16 [h, w, k], logits in descending order.
        classes: uint16 or uint32 [h, w, k], class indices in [0, K).
        log_norm: float16 [h, w], log-sum-exp over all K logits; None if the annotator did not provide it.
    """

    scores: np.ndarray
    classes: np.ndarray
    log_norm: np.ndarray | None = None


def coverage_box(coverage: str, image_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the region (x1, y1, x2, y2) in the unit square of an image of a size that maps of a coverage show.

    Raises:
        ValueError: `coverage` is not one of `COVERAGES`.
    """
    check_coverage(coverage)
    height, width = image_hw
    side = min(height, width) if coverage == "center-square" else None
    x1, y1 = (0.0, 0.0) if side is None else ((1 - side / width) / 2, (1 - side / height) / 2)
    return x1, y1, 1 - x1, 1 - y1


def check_coverage(coverage: object) -> None:
    """Raise ValueError unless `coverage` is one of `COVERAGES`."""
    if coverage not in COVERAGES:
        raise ValueError(f"coverage must be one of {list(COVERAGES)}, got {coverage!r}.")
