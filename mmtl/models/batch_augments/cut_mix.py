"""CutMix that cuts the token labels with the pixels, for backbones whose tokens cannot be mixed cleanly."""

from collections.abc import Sequence

import numpy as np
import torch
from mmpretrain.models.utils.batch_augments import CutMix as PixelCutMix
from torch import Tensor

from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.registry import BATCH_AUGMENTS
from mmtl.utils.to_device import to_device


def cut_images(images: Tensor, box_rcrc: Sequence[int], partner: Tensor) -> Tensor:
    """Replace the pixels of images [B, 3, H, W] inside the box with those of the partner image, int64 [B].

    Convention:
        rows first: rows row0:row1 and columns column0:column1 of pixels are inside the box.
    """
    row0, column0, row1, column1 = box_rcrc
    inside = (..., slice(row0, row1), slice(column0, column1))
    mixed = images.clone()
    mixed[inside] = images[inside][partner]
    return mixed


def kept_share(grid_hw: tuple[int, int], image_hw: tuple[int, int], box_rcrc: Sequence[int]) -> Tensor:
    """Return the share of each token's area outside the box: 1 far from it, 0 inside, in between at its border.

    Args:
        grid_hw: token grid (h, w), which covers the image; (1, 1) gives the share of the full image.
        image_hw: pixels (H, W).
        box_rcrc: in pixels, as in :func:`cut_images`.

    Returns:
        Tensor: float32 [N], N = h * w, row by row.
    """
    row0, column0, row1, column1 = box_rcrc
    rows = _cut_share(grid_hw[0], image_hw[0], row0, row1)
    columns = _cut_share(grid_hw[1], image_hw[1], column0, column1)
    return 1 - torch.outer(rows, columns).flatten()  # what is cut of a token is a product of two intervals


def _cut_share(tokens: int, pixels: int, start: int, stop: int) -> Tensor:
    """Return the share of each of ``tokens`` equal intervals of 0 to ``pixels`` between start and stop, [tokens]."""
    edges = (torch.arange(tokens + 1) * pixels).clamp(start * tokens, stop * tokens)  # in 1 / tokens of a pixel: exact
    return edges.diff() / pixels


@BATCH_AUGMENTS.register_module()
class CutMix(PixelCutMix):
    """Mmpretrain's CutMix, its box and pairing, with the token labels cut at the same position.

    A token whose patch is in the box takes the partner's label, one on its border the mixture of the two labels by
    area, and the class token the mixture by the area in the full image. Without score maps it is mmpretrain's CutMix.

    Args:
        alpha: parameter of the Beta(alpha, alpha) distribution of the share of the image that stays.
        cutmix_minmax: see mmpretrain.

    Source: Yun et al., CutMix, ICCV 2019 (arXiv 1905.04899).
    """

    def __init__(self, alpha: float = 1.0, cutmix_minmax: Sequence[float] | None = None) -> None:
        if not alpha > 0:
            raise ValueError(f"alpha of CutMix must be > 0 (1.0 in its paper), got {alpha!r}.")
        super().__init__(float(alpha), cutmix_minmax)

    def draw(self, batch_size: int, image_hw: tuple[int, int]) -> tuple[tuple[int, int, int, int], Tensor]:
        """Draw the box (row0, column0, row1, column1) and the partners [B], in mmpretrain's order."""
        stays = np.random.beta(self.alpha, self.alpha)
        partner = torch.randperm(batch_size)
        (row0, row1, column0, column1), _ = self.cutmix_bbox_and_lam(image_hw, stays)
        return (int(row0), int(column0), int(row1), int(column1)), partner

    def mix(self, images: Tensor, targets: BatchTargets) -> tuple[Tensor, BatchTargets]:
        """Cut the images [B, 3, H, W] and the labels of a batch."""
        if not isinstance(targets, BatchTargets):
            raise TypeError(
                f"mmtl.CutMix needs the targets of mmtl.TokenLabelDataPreprocessor, got {type(targets).__name__}. "
                "Set data_preprocessor=dict(type='mmtl.TokenLabelDataPreprocessor', ...) or use mmpretrain's CutMix."
            )
        image_hw, device = tuple(images.shape[-2:]), images.device
        box_rcrc, partner = self.draw(len(images), image_hw)
        partner = to_device(partner, device)

        def share(grid_hw: tuple[int, int]) -> Tensor:
            return to_device(kept_share(grid_hw, image_hw, box_rcrc), device)

        token_share = None if targets.patch_tokens is None else share(targets.grid_hw)
        return cut_images(images, box_rcrc, partner), targets.blend(share((1, 1)), token_share, partner)
