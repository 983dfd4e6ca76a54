"""MixToken: mix two images after patch embedding, so that no patch shows both (paper, section 3.2)."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.registry import BATCH_AUGMENTS
from mmtl.utils.to_device import to_device


class TokenMix(NamedTuple):
    """Assignment of the tokens of a batch to images.

    Args:
        mask: bool [N] or [B, N], True where a patch token stays, False where the partner's token replaces it.
        partner: int64 [B], index in the batch of the image that the other tokens come from.
    """

    mask: Tensor
    partner: Tensor


def mix_tokens(tokens: Tensor, mask: Tensor, partner: Tensor) -> Tensor:
    """Replace the tokens outside the mask with those of the partner image: T = T1 * M + T2 * (1 - M).

    It is its own inverse if the pairing is.

    Args:
        tokens: [B, N, C].
        mask: bool [N] or [B, N], True where the token stays.
        partner: int64 [B].

    Source: paper, section 3.2.
    """
    return torch.where(mask.unsqueeze(-1), tokens, tokens[partner])


def cut_box(grid_hw: tuple[int, int], area: float, center_rc: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box (row0, column0, row1, column1) of about ``area`` of the grid around a cell, as in CutMix.

    Args:
        grid_hw: token grid (h, w).
        area: share of the grid in [0, 1].
        center_rc: (row, column) of the center cell.

    Convention:
        rows first: the box indexes a [h, w] grid as ``grid[row0:row1, column0:column1]``.
        clipped: parts outside the grid are lost, so the true area may be smaller than ``area``.

    Source: released code (box side int(side * sqrt(area)), half of it on each side of the center).
    """
    half_h, half_w = (int(side * math.sqrt(area)) // 2 for side in grid_hw)
    (row, column), (h, w) = center_rc, grid_hw
    return max(row - half_h, 0), max(column - half_w, 0), min(row + half_h, h), min(column + half_w, w)


def box_mask(grid_hw: tuple[int, int], box_rcrc: tuple[int, int, int, int]) -> Tensor:
    """Return bool [N], N = h * w, row by row: False inside the box (row0, column0, row1, column1), True elsewhere."""
    mask = np.ones(grid_hw, dtype=bool)
    row0, column0, row1, column1 = box_rcrc
    mask[row0:row1, column0:column1] = False
    return torch.from_numpy(mask.ravel())


@BATCH_AUGMENTS.register_module()
class MixToken:
    """Batch augment that draws a box of tokens and pairs image b with image B-1-b.

    It mixes the labels; the backbone mixes the tokens. The call returns the :class:`TokenMix` as third item, which
    :class:`mmtl.TokenLabelDataPreprocessor` passes to the model with the images.

    Args:
        alpha: parameter of the Beta(alpha, alpha) distribution of the share of the image that stays. Defaults to 1.0
            (released code).
        fallback: config of the batch augment, such as ``dict(type="mmtl.CutMix")``, that
            :class:`mmtl.TokenLabelClassifier` uses instead, with the reason in the log, if the backbone has no patch
            embedding. None makes that an error.

    Source: paper, section 3.2; pairing and box from the released code.
    """

    def __init__(self, alpha: float = 1.0, fallback: dict | None = None) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha of MixToken must be > 0 (1.0 in the paper), got {alpha!r}.")
        self.alpha, self.fallback = alpha, fallback

    def draw(self, batch_size: int, grid_hw: tuple[int, int]) -> TokenMix:
        """Draw the box and pair the images, from NumPy's global generator as mmpretrain's batch augments do."""
        h, w = grid_hw
        cut_area = 1 - np.random.beta(self.alpha, self.alpha)
        box_rcrc = cut_box(grid_hw, cut_area, (np.random.randint(h), np.random.randint(w)))
        return TokenMix(box_mask(grid_hw, box_rcrc), torch.arange(batch_size - 1, -1, -1))

    def __call__(self, inputs: Tensor, targets: BatchTargets) -> tuple[Tensor, BatchTargets, TokenMix]:
        """Mix the labels of a batch; return the images [B, 3, H, W] as they are, the targets, and the draw."""
        if not isinstance(targets, BatchTargets):
            raise TypeError(
                "MixToken mixes tokens inside the backbone and needs the targets of "
                f"mmtl.TokenLabelDataPreprocessor, got {type(targets).__name__}. "
                "Set data_preprocessor=dict(type='mmtl.TokenLabelDataPreprocessor', ...)."
            )
        if targets.grid_hw is None:
            raise ValueError(
                "MixToken needs the token grid. Set token_stride of mmtl.TokenLabelDataPreprocessor, "
                "the pixels of the input per token of the backbone (its patch size)."
            )
        mask, partner = self.draw(len(inputs), targets.grid_hw)
        token_mix = TokenMix(to_device(mask, inputs.device), to_device(partner, inputs.device))
        return inputs, targets.mix_tokens(*token_mix), token_mix
