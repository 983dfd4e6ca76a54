"""The labels of a batch: the class tokens' targets and the patch tokens', mixed together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmtl.models.token_labels.targets import TokenTargets


@dataclass(frozen=True)
class BatchTargets:
    """Targets of class and patch tokens in one object, so that a batch augment mixes both with one draw.

    It can be indexed by images, scaled and added, as mmpretrain's Mixup does.

    Args:
        class_token: targets of the class token, N = 1.
        patch_tokens: targets of the patch tokens, None when the batch has no score maps.
        grid_hw: patch token grid (h, w), also without score maps; None when it is unknown.
        rank_weight: see :func:`rank_weight`; None when it has not been computed.
    """

    class_token: TokenTargets
    patch_tokens: TokenTargets | None
    grid_hw: tuple[int, int] | None
    rank_weight: Tensor | float | None = None

    __array_ufunc__ = None  # NumPy, asked for number * targets, would treat them as an endless sequence

    ndim = 2  # that of a batch of label rows, which mmpretrain's Mixup checks for

    def __len__(self) -> int:
        """Return the number of images, B."""
        return len(self.class_token)

    def __getitem__(self, index: Tensor | slice | tuple) -> BatchTargets:
        return self._with(self.class_token[index], lambda patches: patches[index])

    def __mul__(self, factor: float | Tensor) -> BatchTargets:
        return self._with(self.class_token * factor, lambda patches: patches * factor)

    __rmul__ = __mul__

    def __add__(self, other: BatchTargets) -> BatchTargets:
        return self._with(self.class_token + other.class_token, lambda patches: patches + other.patch_tokens)

    def _with(self, class_token: TokenTargets, of_patches: Callable[[TokenTargets], TokenTargets]) -> BatchTargets:
        patches = None if self.patch_tokens is None else of_patches(self.patch_tokens)
        return replace(self, class_token=class_token, patch_tokens=patches)

    def float(self) -> BatchTargets:
        """Return the targets, which are float32 already (mmpretrain's batch augments call this)."""
        return self

    def by_class(self, class_weight: Tensor) -> BatchTargets:
        """Weight each token in the loss by its label's classes; ``class_weight`` is float32 [K]."""
        return self._with(self.class_token.by_class(class_weight), lambda patches: patches.by_class(class_weight))

    def blend(self, image_share: Tensor, token_share: Tensor | None, partner: Tensor) -> BatchTargets:
        """Blend the labels of images into which a part of another image was pasted, by area.

        Args:
            image_share: float32 [1] or [B, 1], share of the image's area that stays.
            token_share: float32 [N] or [B, N], share of each patch token's area that stays; None without score maps.
            partner: int64 [B], the image that the rest shows.
        """
        class_token = self.class_token.blend_rows(image_share, partner)
        return self._with(class_token, lambda patches: patches.blend_rows(token_share, partner))

    def mix_tokens(self, mask: Tensor, partner: Tensor) -> BatchTargets:
        """Mix labels like tokens: Y = Y1 * M + Y2 * (1 - M), the class label by the share of tokens.

        Args:
            mask: bool [N] or [B, N], True where a patch token stays.
            partner: int64 [B].

        Source: paper, section 3.2.
        """
        share = mask.mean(-1, keepdim=True, dtype=torch.float32)
        class_token = self.class_token.blend_rows(share, partner)
        return self._with(class_token, lambda patches: patches.mix_rows(mask, partner))
