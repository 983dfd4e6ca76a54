"""Random batches of score maps and crops for tests of the models."""

import torch
from torch import Tensor


def random_maps(
    seed: int, batch: int, map_hw: tuple[int, int], topk: int, num_classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the top-k of random logits: scores [B, h, w, k] descending, classes [B, h, w, k], log_norm [B, h, w]."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(batch, *map_hw, num_classes, generator=generator)
    scores, classes = logits.topk(topk)
    return scores, classes, logits.logsumexp(-1)


def affine_of_boxes(boxes_xyxy: Tensor) -> Tensor:
    """Return view_affine [B, 2, 3] of axis-aligned crops, boxes [B, 4] in the unit square of the original image."""
    x0, y0, x1, y1 = boxes_xyxy.unbind(-1)
    zero = torch.zeros_like(x0)
    return torch.stack((x1 - x0, zero, x0, zero, y1 - y0, y0), dim=-1).unflatten(-1, (2, 3))
