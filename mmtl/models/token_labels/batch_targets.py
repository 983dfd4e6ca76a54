"""The labels of a batch: the class tokens' targets and the patch tokens', drawn and mixed together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmtl.models.token_labels.targets import TokenTargets


@dataclass(frozen=True)
class BatchTargets:
    """What the head compares with, one object so that a batch augment mixes both with one draw.

    It can be indexed by images, scaled and added, as mmpretrain's Mixup does.

    Args:
        class_token: targets of the class token, N = 1.
        patch_tokens: targets of the patch tokens, None when the batch has no score maps.
        grid_hw: patch token grid (h, w), also known without score maps.
    """

    class_token: TokenTargets
    patch_tokens: TokenTargets | None
    grid_hw: tuple[int, int]

    __array_ufunc__ = None  # NumPy, asked for number * targets, would take them for an endless sequence

    @property
    def ndim(self) -> int:
        """2: a batch of label rows, which is what mmpretrain's Mixup checks for."""
        return 2

    def __len__(self) -> int:
        """Images in the batch, B."""
        return len(self.class_token)

    def __getitem__(self, index: Tensor | slice | tuple) -> BatchTargets:
        patches = self.patch_tokens
        return BatchTargets(self.class_token[index], None if patches is None else patches[index], self.grid_hw)

    def __mul__(self, factor: float | Tensor) -> BatchTargets:
        patches = self.patch_tokens
        return BatchTargets(self.class_token * factor, None if patches is None else patches * factor, self.grid_hw)

    __rmul__ = __mul__

    def __add__(self, other: BatchTargets) -> BatchTargets:
        patches = None if self.patch_tokens is None else self.patch_tokens + other.patch_tokens
        return BatchTargets(self.class_token + other.class_token, patches, self.grid_hw)

    def float(self) -> BatchTargets:
        """The same targets, which are float32 already (mmpretrain's batch augments ask for it)."""
        return self

    def blend(self, image_share: Tensor, token_share: Tensor, partner: Tensor) -> BatchTargets:
        """Labels of images that a part of another image was pasted into, by the area that each keeps.

        Args:
            image_share: float32 [1] or [B, 1], share of the image's area that stays.
            token_share: float32 [N] or [B, N], share of each patch token's area that stays.
            partner: int64 [B], the image that the rest shows.
        """
        patches = None if self.patch_tokens is None else self.patch_tokens.blend_rows(token_share, partner)
        return BatchTargets(self.class_token.blend_rows(image_share, partner), patches, self.grid_hw)

    def mix_tokens(self, mask: Tensor, partner: Tensor) -> BatchTargets:
        """Labels of images whose tokens were mixed: Y = Y1 * M + Y2 * (1 - M), the class label by share of tokens.

        Args:
            mask: bool [N] or [B, N], True where a patch token stays.
            partner: int64 [B].

        Source: paper, section 3.2.
        """
        share = mask.float().mean(-1)
        class_token = self.class_token * share + self.class_token[partner] * (1 - share)
        patches = None if self.patch_tokens is None else self.patch_tokens.mix_rows(mask, partner)
        return BatchTargets(class_token, patches, self.grid_hw)
