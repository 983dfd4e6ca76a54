"""Sparse soft labels of tokens, read from score maps through the geometry of the sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtl.models.token_labels import checks
from mmtl.models.token_labels.map_windows import MapWindows, map_windows
from mmtl.models.token_labels.score_map_batch import ScoreMapBatch
from mmtl.models.token_labels.sparse_softmax import sparse_softmax, sum_by_class
from mmtl.utils.to_device import to_device

PREFERRED = 1e-6  # a smaller weight of the top-1 class is rounding: the label prefers no class


@dataclass(frozen=True, repr=False)
class TokenTargets:
    """Label distributions of a batch of tokens: p = tail everywhere, plus weights on a few classes.

    A class may appear several times for a token; its weights add up. Targets can be indexed by images, scaled and
    added, as mmpretrain's Mixup does.

    The label of a token with a smaller weight in the loss has that much mass (0 leaves it out), like premultiplied
    alpha. Sums then mix labels correctly: a token of weight 0 contributes nothing to the mixture.

    Args:
        classes: int64 [B, N, M], the classes of the M sparse entries of each token.
        weights: float32 [B, N, M], what an entry adds to the tail; may be negative.
        tail: float32 [B, N], probability of every class before the weights.
        row_weights: float32 [B, N], weight of the token in the loss: the mass of its label before smoothing.
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
    def from_labels(
        cls, labels: Tensor, num_classes: int, check_values: bool = True, smoothing: float = 0.0
    ) -> TokenTargets:
        """Make targets of the class token, one-hot and smoothed as usual: 1 - s + s / K for the label, else s / K.

        Args:
            labels: integer [B], class indices below ``num_classes``.
            num_classes: K.
            check_values: whether to check the labels, which waits for the device they are on.
            smoothing: s in [0, 1].
        """
        checks.check_smoothing(smoothing)
        if check_values:
            checks.check_classes(labels, num_classes, "label")
        classes, shape, device = labels.long().view(-1, 1, 1), (len(labels), 1), labels.device
        weights = torch.full((*shape, 1), 1.0 - smoothing, device=device)
        tail = torch.full(shape, smoothing / num_classes, device=device)
        return cls(classes, weights, tail, torch.ones(shape, device=device), num_classes, (1, 1))

    @classmethod
    def from_dense(cls, probabilities: Tensor, row_weights: Tensor, grid_hw: tuple[int, int]) -> TokenTargets:
        """Make targets with an entry for every class, from float32 [B, N, K] and the tokens' weights [B, N]."""
        num_classes = probabilities.shape[-1]
        every_class = torch.arange(num_classes, device=probabilities.device).expand_as(probabilities)
        tail = probabilities.amin(-1, keepdim=True)  # so that a uniform label prefers no class
        return cls(every_class, probabilities - tail, tail.squeeze(-1), row_weights, num_classes, tuple(grid_hw))

    def __len__(self) -> int:
        """Return the number of images, B."""
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
                raise ValueError(f"TokenTargets are indexed by images only, as targets[index], got also {rest}.")
        if isinstance(index, int | np.integer) or (isinstance(index, Tensor) and index.ndim == 0):
            index = range(len(self))[int(index)]  # raises IndexError, which also ends a loop over the images
            index = slice(index, index + 1)
        return self._map(lambda tensor: tensor[index])

    def __mul__(self, factor: float | Tensor) -> TokenTargets:
        """Scale by a number, or by one number per image (a tensor of shape [] or [B])."""
        if isinstance(factor, Tensor):
            factor = factor.reshape(-1, 1)
            if len(factor) not in (1, len(self)):
                raise ValueError(f"{self!r} must be scaled by one number, or one per image, got {len(factor)}.")
        return self.weighted(factor)

    __rmul__ = __mul__

    def __add__(self, other: TokenTargets) -> TokenTargets:
        if (self.tail.shape, self.grid_hw, self.num_classes) != (other.tail.shape, other.grid_hw, other.num_classes):
            raise ValueError(f"Targets that are added must be of one shape, got {self!r} and {other!r}.")
        return replace(
            self,
            classes=torch.cat((self.classes, other.classes), dim=-1),
            weights=torch.cat((self.weights, other.weights), dim=-1),
            tail=self.tail + other.tail,
            row_weights=self.row_weights + other.row_weights,
        )

    def _map(self, function: Callable[[Tensor], Tensor]) -> TokenTargets:
        names = ("classes", "weights", "tail", "row_weights")
        return replace(self, **{name: function(getattr(self, name)) for name in names})

    def dense(self) -> Tensor:
        """Return every probability, float32 [B, N, K], for tests and figures; training never needs it."""
        return self.tail.unsqueeze(-1).repeat(1, 1, self.num_classes).scatter_add_(-1, self.classes, self.weights)

    def top(self) -> tuple[Tensor, Tensor]:
        """Return each token's top-1 class, int64 [B, N], and its weight above the tail, float32 [B, N], at least 0."""
        if self.weights.shape[-1] < self.num_classes:
            classes, sums = sum_by_class(self.weights, self.classes)
        else:  # sorting as many entries would take longer than a row of all classes
            sums = self.weights.new_zeros(*self.tail.shape, self.num_classes)
            classes = sums.scatter_add_(-1, self.classes, self.weights).argmax(-1, keepdim=True)
            return classes.squeeze(-1), sums.gather(-1, classes).squeeze(-1).clamp(min=0)
        weight, slot = sums.max(-1, keepdim=True)
        return classes.gather(-1, slot).squeeze(-1), weight.squeeze(-1).clamp(min=0)

    def smoothed(self, smoothing: float) -> TokenTargets:
        """Smooth score maps' labels as in the released code: t * (1 - s + s / K) + s / K, which sums to 1 + s / K."""
        share = smoothing / self.num_classes
        factor = 1 - smoothing + share
        tail = torch.add(self.tail * factor, self.row_weights, alpha=share)
        return replace(self, weights=self.weights * factor, tail=tail)

    def weighted(self, factor: float | Tensor) -> TokenTargets:
        """Multiply the tokens' weights in the loss by a number, [B, N] or [B, 1]."""
        return replace(
            self,
            weights=self.weights * (factor.unsqueeze(-1) if isinstance(factor, Tensor) else factor),
            tail=self.tail * factor,
            row_weights=self.row_weights * factor,
        )

    def by_class(self, class_weight: Tensor) -> TokenTargets:
        """Weight each token in the loss by the mean weight of its label's classes; ``class_weight`` is [K]."""
        total = self.tail * class_weight.sum() + (self.weights * class_weight[self.classes]).sum(-1)
        mass = self.tail * self.num_classes + self.weights.sum(-1)
        return self.weighted(total / mass.clamp(min=torch.finfo(torch.float32).tiny))

    def mix_rows(self, mask: Tensor, partner: Tensor) -> TokenTargets:
        """Mix labels like :func:`mmtl.models.batch_augments.mix_token.mix_tokens` mixes tokens.

        Args:
            mask: bool [N] or [B, N], True where the token stays.
            partner: int64 [B].
        """
        entry_mask = mask.unsqueeze(-1)
        return self._map(lambda own: torch.where(mask if own.ndim == 2 else entry_mask, own, own[partner]))

    def blend_rows(self, share: Tensor, partner: Tensor) -> TokenTargets:
        """Blend the labels of tokens that show two images.

        Args:
            share: float32 [N] or [B, N], share of the token that shows the image itself.
            partner: int64 [B], the image that the rest of it shows.
        """
        other, own_share = self[partner], share.unsqueeze(-1)
        return replace(
            self,
            classes=torch.cat((self.classes, other.classes), dim=-1),
            weights=torch.cat((self.weights * own_share, other.weights * (1 - own_share)), dim=-1),
            tail=torch.lerp(other.tail, self.tail, share),
            row_weights=torch.lerp(other.row_weights, self.row_weights, share),
        )

    def ground_truth(
        self, labels: Tensor, blend: str = "label", check_values: bool = True, smoothing: float = 0.0
    ) -> TokenTargets:
        """Make the target of the class token from the class label, from this target (the pooled map), or from both.

        Args:
            labels: integer [B].
            blend: 'label', 'map', or 'both': the map weighs 0.5 where its top-1 class is the label, else 0.9.
            check_values: see :meth:`from_labels`.
            smoothing: of the class label; the map's is that of these targets.

        Source: paper, section 3.1 (label); released code (map: its default; both: its ``--ground-truth``).
        """
        if blend not in ("label", "map", "both"):
            raise ValueError(f"blend must be 'label', 'map' or 'both', got {blend!r}.")
        if blend != "label" and self.tail.shape[1] != 1:
            raise ValueError(f"ground_truth needs a map pooled to one token, grid_hw (1, 1), got {self!r}.")
        if blend == "map":
            return self
        if labels.shape != (len(self),):
            raise ValueError(f"labels must be one label per image, [{len(self)}], got {list(labels.shape)}.")
        label_targets = TokenTargets.from_labels(labels, self.num_classes, check_values, smoothing)
        if blend == "label":
            return label_targets
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
    check_values: bool = True,
) -> TokenTargets:
    """Compute the labels of the tokens of a batch, exact for any chain of crops, flips, rotations and shears.

    ``tail='zero_logit'`` is the published rule: classes that a cell does not list have logit 0, logits are
    interpolated, a softmax over all K classes follows. ``tail='probability'`` interpolates the annotator's true
    probabilities; the rest of each cell is spread evenly over the classes that it does not list.

    Args:
        scores: [B, h, w, k], see :class:`ScoreMapBatch`.
        classes: [B, h, w, k].
        view_affine: [B, 2, 3].
        grid_hw: token grid (h, w); (1, 1) gives the class token's target.
        num_classes: K.
        tail: 'zero_logit', or 'probability', which needs ``log_norm``.
        smoothing: label smoothing in [0, 1].
        log_norm: [B, h, w].
        outside: tokens with no sample inside the image have the uniform label: 'uniform' trains on it, 'ignore'
            gives them no weight in the loss.
        device: device of the targets; None means that of ``scores``. Affines on the CPU cause no synchronization.
        frame_affines: [B, F, 2, 3].
        check_values: whether to check the numbers in the score maps, which waits for the device they are on. The
            training pipeline checks them in the workers instead.

    Returns:
        TokenTargets: N = product of ``grid_hw`` tokens per image.

    Convention:
        xy_order: the affine acts on (x, y), x to the right, y down; maps and grids are indexed (row, column).
        outside_uniform: a point outside the image has the uniform distribution.

    Source: paper, section 3.1; released code for the zero logits.
    """
    maps = ScoreMapBatch(scores, classes, view_affine, log_norm, frame_affines)
    checks.check_options(tail, outside, smoothing)
    checks.check_shapes(maps, grid_hw, num_classes)
    if tail == "probability" and log_norm is None:
        raise ValueError(
            "tail='probability' needs log_norm, the log-sum-exp over all classes, which these score maps (such as "
            "released archives) lack. Make them with `mmtl make_score_maps` or set tail='zero_logit'."
        )
    if check_values:
        checks.check_values(maps, num_classes)
    device = scores.device if device is None else device
    windows = map_windows(view_affine, tuple(scores.shape[1:3]), grid_hw, device, frame_affines)
    values, classes, cell_tail = to_device(scores, device), to_device(classes, device), None
    if tail == "probability":
        values, cell_tail = _cell_probabilities(values.float(), to_device(log_norm, device).float(), num_classes)
    read = _read_all_classes if scores.shape[3] == num_classes else _read_listed_classes
    targets = read(values, classes, cell_tail, windows, num_classes)
    if outside == "ignore":
        targets = targets.weighted((windows.weights.sum((-2, -1)) > 0).flatten(1))
    return targets.smoothed(smoothing) if smoothing else targets


def _read_listed_classes(
    values: Tensor, classes: Tensor, cell_tail: Tensor | None, windows: MapWindows, num_classes: int
) -> TokenTargets:
    """Read maps [B, h, w, k] of logits, or of weights above ``cell_tail`` [B, h, w], at the tokens' windows."""
    window_weights, grid_hw = windows.weights.unsqueeze(-1), windows.cells.shape[1:3]
    # Entries of a token: W cells of its window, k classes each.
    shape = len(values), grid_hw.numel(), windows.cells.shape[3:].numel() * values.shape[3]  # [B, N, W * k]
    values = (_read(values, windows.cells) * window_weights).view(shape)
    classes = _read(classes, windows.cells).view(shape)
    if cell_tail is None:
        classes, weights, tails = sparse_softmax(values, classes, num_classes)
    else:
        classes, weights = classes.long(), values
        outside_share = 1 - windows.weights.sum((-2, -1))
        cell_tails = (_read(cell_tail.unsqueeze(-1), windows.cells) * window_weights).sum((-3, -2, -1))
        tails = (cell_tails + outside_share / num_classes).view(shape[:2])
    return TokenTargets(classes, weights, tails, torch.ones_like(tails), num_classes, tuple(grid_hw))


def _read_all_classes(
    values: Tensor, classes: Tensor, cell_tail: Tensor | None, windows: MapWindows, num_classes: int
) -> TokenTargets:
    """Read maps that list every class, [B, h, w, K], with K entries of a token in place of W * K."""
    rows = torch.zeros_like(values, dtype=torch.float32).scatter_add_(-1, classes.long(), values.float())
    weights = windows.weights.flatten(3).flatten(0, 2)  # [B * N, W]
    cells = windows.cells.view(weights.shape)
    read = F.embedding_bag(cells, rows.flatten(0, 2), mode="sum", per_sample_weights=weights)
    read = read.view(len(values), -1, num_classes)
    inside = weights.sum(-1).view(read.shape[:2])
    if cell_tail is None:
        probabilities = read.softmax(-1)
    else:
        probabilities = read + ((1 - inside) / num_classes).unsqueeze(-1)
    return TokenTargets.from_dense(probabilities, torch.ones_like(inside), windows.cells.shape[1:3])


def _read(cell_values: Tensor, cells: Tensor) -> Tensor:
    """Read values [B, h, w, k] at cells [..., W] of all images, giving [..., W, k]."""
    return F.embedding(cells, cell_values.flatten(0, 2))


def _cell_probabilities(scores: Tensor, log_norm: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the distribution of each cell as weights [B, h, w, k] above the tail [B, h, w].

    The stored numbers are float16, so the top-k probabilities may sum to slightly more than 1: they are scaled to 1.
    """
    num_absent = num_classes - scores.shape[-1]
    if num_absent == 0:
        return scores.softmax(-1), torch.zeros_like(log_norm)
    probabilities = (scores - log_norm.unsqueeze(-1)).exp()
    total = probabilities.sum(-1, keepdim=True)
    tail = (1 - total).clamp(min=0) / num_absent
    return probabilities / total.clamp(min=1) - tail, tail.squeeze(-1)
