"""The score maps of a batch, with what relates them to the images."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ScoreMapBatch(NamedTuple):
    """Score maps of B images, h x w cells of k classes each.

    Args:
        scores: floating [B, h, w, k], logits of the k top classes of every cell.
        classes: integer [B, h, w, k], their indices.
        view_affine: floating [B, 2, 3], from the unit square of the network's input to that of the original image.
        log_norm: floating [B, h, w], log-sum-exp over all K logits, or None.
        frame_affines: floating [B, F, 2, 3], from the unit square of the network's input to unit squares. A point
            that is outside of one of them shows padding and counts as outside the image. None: no padding.
    """

    scores: Tensor
    classes: Tensor
    view_affine: Tensor
    log_norm: Tensor | None = None
    frame_affines: Tensor | None = None

    def select(self, index: int | slice) -> ScoreMapBatch:
        """Return the score map of one image, without the batch axis, or those of several."""
        return ScoreMapBatch(*(None if tensor is None else tensor[index] for tensor in self))
