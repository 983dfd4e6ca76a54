import torch
from torch import Tensor

from mmtl.models.token_labels.targets import PREFERRED, TokenTargets


@torch.no_grad()
def token_accuracy(logits: Tensor, targets: TokenTargets) -> Tensor:
    """Return the percentage of tokens whose top-1 logit is the top-1 class of their label, without dense labels.

    Tokens without weight in the loss are left out, and those whose label prefers no class: outside the image, or where
    every listed class has less than the tail.

    Args:
        logits: [B, N, K] (or [B, K] where N is 1).
        targets: the label distributions of the same tokens. For mixed images, the larger share is the top-1 class.

    Returns:
        Tensor: float32 scalar, 0 when no token is left.
    """
    top, weight = targets.top()
    counted = (weight > PREFERRED) & (targets.row_weights > 0)
    correct = (logits.argmax(-1).view_as(top) == top) & counted
    return 100.0 * correct.sum() / counted.sum().clamp(min=1)
