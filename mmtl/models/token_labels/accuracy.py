import torch
from torch import Tensor

from mmtl.models.token_labels.sparse_softmax import (
    add_up_runs,
    first_of_classes,
    pack_entries,
    sort_entries,
    unpack_entries,
)
from mmtl.models.token_labels.targets import TokenTargets


@torch.no_grad()
def token_accuracy(logits: Tensor, targets: TokenTargets) -> Tensor:
    """Percent of the tokens whose best logit is the first class of their label. Nothing dense is made.

    Left out are tokens that do not count in the loss, and those whose label prefers no class: outside of the image, or
    where every class that is named has less than the tail.

    Args:
        logits: [B, N, K] (or [B, K] where N is 1).
        targets: the label distributions of the same tokens. Of mixed images, the larger share is the first class.

    Returns:
        Tensor: float32 scalar, 0 when no token is left.
    """
    entries = sort_entries(pack_entries(targets.weights, targets.classes))  # [B, N, M]; equal classes are neighbours
    firsts = first_of_classes(entries)
    classes, weights = unpack_entries(entries)
    add_up_runs(weights, firsts)
    best, slot = weights.mul_(firsts).max(-1, keepdim=True)
    first = classes.gather(-1, slot).squeeze(-1)  # [B, N]
    counted = (best.squeeze(-1) > 1e-6) & (targets.row_weights > 0)
    right = (logits.argmax(-1).view_as(first) == first) & counted
    return 100.0 * right.sum() / counted.sum().clamp(min=1)
