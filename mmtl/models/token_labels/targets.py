"""Soft labels of tokens, read from score maps through the geometry of the sample and kept sparse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mmtl.models.token_labels.checks import (
    check_classes,
    check_log_norm,
    check_options,
    check_shapes,
    check_smoothing,
    check_values,
)
from mmtl.models.token_labels.map_windows import map_windows, send
from mmtl.models.token_labels.sparse_softmax import pack_entries, scale_entries, softmax_of_entries, unpack_entries


@dataclass(frozen=True, repr=False)
class TokenTargets:
    """Label distributions of a batch of tokens: p = tail everywhere, plus weights on a few classes.

    A class may appear several times for a token; its weights add up. Behaves as a batch of label rows for
    mmpretrain's batch augments: indexed by images, scaled and added.

    A token that counts for less in the loss has a label of that much mass (0 leaves it out), as a colour is
    multiplied by its opacity. Then sums mix labels rightly: one that does not count has no part in the mixture.

    Args:
        classes: int64 [B, N, M], the classes of the M sparse entries of each token.
        weights: float32 [B, N, M], what an entry adds to the tail; may be negative.
        tail: float32 [B, N], probability of every class before the weights.
        row_weights: float32 [B, N], how much the token counts in the loss: the mass of its label before smoothing.
        num_classes: K.
        grid_hw: token grid (h, w), N = h * w; (1, 1) for the class token's target.
    """

    classes: Tensor
    weights: Tensor
    tail: Tensor
    row_weights: Tensor
    num_classes: int
    grid_hw: tuple[int, int]

    __array_ufunc__ = None  # see BatchTargets

    @classmethod
    def from_labels(cls, labels: Tensor, num_classes: int) -> TokenTargets:
        """One-hot targets of the class token.

        Args:
            labels: integer [B], class indices below ``num_classes``.
            num_classes: K.

        Returns:
            TokenTargets: with N = 1.

        Raises:
            ValueError: if a label is negative or not below ``num_classes``.
        """
        check_classes(labels, num_classes, "label")
        ones = torch.ones(len(labels), 1, device=labels.device)
        entries = labels.long().view(-1, 1, 1), ones.unsqueeze(-1)
        return cls(*entries, torch.zeros_like(ones), ones, num_classes, (1, 1))

    @property
    def ndim(self) -> int:
        """2: a batch of label rows, which is what mmpretrain's Mixup checks for."""
        return 2

    def __len__(self) -> int:
        """Images in the batch, B."""
        return len(self.tail)

    def __repr__(self) -> str:
        batch, tokens, entries = self.classes.shape
        return (
            f"TokenTargets({batch} images x {tokens} tokens ({self.grid_hw[0]}x{self.grid_hw[1]} grid), "
            f"{entries} sparse entries over {self.num_classes} classes, "
            f"{int((self.row_weights > 0).sum())} of {batch * tokens} tokens count, {self.tail.device})"
        )

    def __getitem__(self, index: Tensor | slice | tuple) -> TokenTargets:
        """Select images, one or several; a second index (the classes, in mmpretrain's Mixup) may only be ``:``."""
        if isinstance(index, tuple):
            index, *rest = index
            if any(not isinstance(item, slice) or item != slice(None) for item in rest):
                raise ValueError(f"TokenTargets are indexed by images only, as targets[index]; got also {rest}")
        if isinstance(index, int | np.integer) or (isinstance(index, Tensor) and index.ndim == 0):
            index = range(len(self))[int(index)]  # raises IndexError, which also ends a loop over the images
            index = slice(index, index + 1)
        return self._map(lambda tensor: tensor[index])

    def __mul__(self, factor: float | Tensor) -> TokenTargets:
        """Scale by a number, or by one number per image (a tensor of shape [] or [B])."""
        if isinstance(factor, Tensor):
            factor = factor.reshape(-1, 1)
            if len(factor) not in (1, len(self)):
                raise ValueError(f"{self!r} are scaled by one number, or one per image, got {len(factor)}")
        return self.weighted(factor)

    __rmul__ = __mul__

    def __add__(self, other: TokenTargets) -> TokenTargets:
        if (self.tail.shape, self.grid_hw, self.num_classes) != (other.tail.shape, other.grid_hw, other.num_classes):
            raise ValueError(f"targets that are added must be of one shape, got {self!r} and {other!r}")
        return replace(
            self,
            classes=torch.cat((self.classes, other.classes), dim=-1),
            weights=torch.cat((self.weights, other.weights), dim=-1),
            tail=self.tail + other.tail,
            row_weights=self.row_weights + other.row_weights,
        )

    def _map(self, function: Callable[[Tensor], Tensor]) -> TokenTargets:
        return replace(
            self,
            classes=function(self.classes),
            weights=function(self.weights),
            tail=function(self.tail),
            row_weights=function(self.row_weights),
        )

    def to(self, device: torch.device | str) -> TokenTargets:
        """The same targets on another device."""
        return self._map(lambda tensor: send(tensor, device))

    def float(self) -> TokenTargets:
        """The same targets; the weights are float32 already (mmpretrain's batch augments ask for it)."""
        return self

    def dense(self) -> Tensor:
        """Every probability, float32 [B, N, K]: for tests and pictures, training never needs it."""
        return self.tail.unsqueeze(-1).repeat(1, 1, self.num_classes).scatter_add_(-1, self.classes, self.weights)

    def smoothed(self, smoothing: float) -> TokenTargets:
        """Label smoothing as in the released code: t * (1 - s + s / K) + s / K, which sums to 1 + s / K.

        Raises:
            ValueError: if ``smoothing`` is not within [0, 1].
        """
        check_smoothing(smoothing)
        share = smoothing / self.num_classes
        factor = 1 - smoothing + share
        return replace(self, weights=self.weights * factor, tail=self.tail * factor + share * self.row_weights)

    def weighted(self, factor: float | Tensor) -> TokenTargets:
        """The same labels, which count ``factor`` times as much: a number, [B, N] or [B, 1]."""
        return replace(
            self,
            weights=self.weights * (factor.unsqueeze(-1) if isinstance(factor, Tensor) else factor),
            tail=self.tail * factor,
            row_weights=self.row_weights * factor,
        )

    def mix_rows(self, mask: Tensor, partner: Tensor) -> TokenTargets:
        """Labels of tokens that :func:`mmtl.models.batch_augments.mix_token.mix_tokens` mixed: each follows its token.

        Args:
            mask: bool [N] or [B, N], True where the token stays.
            partner: int64 [B].
        """
        other = self[partner]

        def pick(own: Tensor, others: Tensor) -> Tensor:
            return torch.where(mask.unsqueeze(-1) if own.ndim == 3 else mask, own, others)

        return replace(
            self,
            classes=pick(self.classes, other.classes),
            weights=pick(self.weights, other.weights),
            tail=pick(self.tail, other.tail),
            row_weights=pick(self.row_weights, other.row_weights),
        )

    def blend_rows(self, share: Tensor, partner: Tensor) -> TokenTargets:
        """Labels of tokens that show two images, each by its share.

        Args:
            share: float32 [N] or [B, N], how much of the token shows the image itself.
            partner: int64 [B], the image that the rest shows.
        """
        return self.weighted(share) + self[partner].weighted(1 - share)

    def ground_truth(self, labels: Tensor, blend: str = "label") -> TokenTargets:
        """Target of the class token from the class label, from this target (the pooled map), or from both.

        Args:
            labels: integer [B].
            blend: 'label', 'map', or 'released': the map weighs 0.5 where its first class is the label and 0.9
                where it is another.

        Returns:
            TokenTargets: with N = 1.

        Raises:
            ValueError: for another ``blend``, labels that are not one class index per image, or a blend with the
                map of targets of more than one token.

        Source: paper, section 3.1 (label); released code (blend).
        """
        if blend != "label" and self.tail.shape[1] != 1:
            raise ValueError(f"ground_truth wants the map pooled to one token, grid_hw (1, 1), got {self!r}")
        if blend == "map":
            return self
        if labels.shape != (len(self),):
            raise ValueError(f"ground_truth wants one label per image, [{len(self)}], got {list(labels.shape)}")
        label_targets = TokenTargets.from_labels(labels, self.num_classes)
        if blend == "label":
            return label_targets
        if blend != "released":
            raise ValueError(f"ground_truth wants blend 'label', 'map' or 'released', got {blend!r}")
        agrees = self.dense().argmax(-1).squeeze(1) == labels
        map_share = torch.where(agrees, 0.5, 0.9)
        return self * map_share + label_targets * (1 - map_share)


def token_targets(
    scores: Tensor,
    classes: Tensor,
    view_affine: Tensor,
    grid_hw: tuple[int, int],
    num_classes: int,
    tail: str = "zero_logit",
    smoothing: float = 0.0,
    log_norm: Tensor | None = None,
    outside: str = "uniform",
    device: torch.device | str | None = None,
    frame_affines: Tensor | None = None,
) -> TokenTargets:
    """Labels of the tokens of a batch, exact for any chain of crops, flips, rotations and shears.

    ``tail='zero_logit'`` is the published rule: classes that a cell does not name have logit 0, logits are
    interpolated, a softmax over all K classes follows. ``tail='probability'`` interpolates the annotator's true
    probabilities, each cell's rest spread evenly over the classes that it does not name.

    Args:
        scores: floating [B, h, w, k], logits of the k best classes of every cell.
        classes: integer [B, h, w, k], their indices.
        view_affine: floating [B, 2, 3], from the unit square of the network's input to that of the original image.
        grid_hw: token grid (h, w); (1, 1) gives the class token's target.
        num_classes: K.
        tail: 'zero_logit' or 'probability'.
        smoothing: label smoothing in [0, 1].
        log_norm: floating [B, h, w], log-sum-exp over all K logits; 'probability' needs it.
        outside: tokens with no sample inside the image have the uniform label: 'uniform' trains on it, 'ignore'
            gives them no weight in the loss.
        device: where the targets are wanted; None means where ``scores`` are. Inputs on the CPU are checked there
            and cost no synchronisation.
        frame_affines: floating [B, F, 2, 3], from the unit square of the network's input to unit squares that a
            place must lie in to show picture; elsewhere counts as outside the image.

    Returns:
        TokenTargets: N = product of ``grid_hw`` tokens per image.

    Raises:
        ValueError: for a class out of range, a score that is not finite, an affine of no area, an empty grid, or
            shapes that do not fit.

    Convention:
        xy_order: the affine acts on (x, y), x to the right, y down; maps and grids are indexed (row, column).
        outside_uniform: what lies outside the image has the uniform distribution.

    Source: paper, section 3.1; released code for the zero logits.
    """
    check_options(tail, outside, smoothing)
    check_shapes(scores, classes, view_affine, grid_hw, log_norm, frame_affines)
    check_values(scores, classes, view_affine, log_norm, num_classes)
    device = scores.device if device is None else device
    windows = map_windows(view_affine, tuple(scores.shape[1:3]), grid_hw, device, frame_affines)
    coverage = windows.weights.sum(-1)  # [B, N]
    values = scores.float()
    if tail == "probability":
        check_log_norm(scores, log_norm)
        values, cell_tail = _cell_probabilities(values, log_norm.float(), num_classes)
    cells = send(pack_entries(values, classes).flatten(1, 2), device)
    entries = scale_entries(_read(cells, windows.cells), windows.weights.unsqueeze(-1)).flatten(2)
    if tail == "zero_logit":
        read_classes, weights, tails = softmax_of_entries(entries, num_classes)
    else:
        read_classes, weights = unpack_entries(entries)
        cell_tails = _read(send(cell_tail.flatten(1), device), windows.cells)
        tails = (cell_tails * windows.weights).sum(-1) + (1 - coverage) / num_classes
    targets = TokenTargets(read_classes, weights, tails, torch.ones_like(tails), num_classes, tuple(grid_hw))
    if outside == "ignore":
        targets = targets.weighted((coverage > 0).to(tails))
    return targets.smoothed(smoothing) if smoothing else targets


def _read(cell_values: Tensor, cells: Tensor) -> Tensor:
    """Values [B, h * w, ...] of the cells [B, N, W], as [B, N, W, ...]."""
    batch, num_cells = cell_values.shape[:2]
    offsets = torch.arange(0, batch * num_cells, num_cells, device=cells.device).view(-1, 1, 1)
    return cell_values.flatten(0, 1).index_select(0, (cells + offsets).flatten()).unflatten(0, cells.shape)


def _cell_probabilities(scores: Tensor, log_norm: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Distribution of each cell, as weights [B, h, w, k] above the tail [B, h, w].

    The stored numbers are float16, so the k best may come to a little more than 1: they are scaled to 1 then.
    """
    num_absent = num_classes - scores.shape[-1]
    if num_absent == 0:
        return scores.softmax(-1), torch.zeros_like(log_norm)
    probabilities = (scores - log_norm.unsqueeze(-1)).exp()
    total = probabilities.sum(-1, keepdim=True)
    tail = (1 - total).clamp(min=0) / num_absent
    return probabilities / total.clamp(min=1) - tail, tail.squeeze(-1)
