import torch
from torch import Tensor

from mmtl.models.sparse_softmax import sort_classes
from mmtl.models.token_targets import TokenTargets


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
    classes, order = sort_classes(targets.classes)  # [B, N, M]; equal classes are neighbours now
    slots = torch.nn.functional.pad(classes[..., 1:] != classes[..., :-1], (1, 0)).cumsum(-1)
    weights = torch.zeros_like(targets.weights).scatter_add(-1, slots, targets.weights.gather(-1, order))
    best, slot = weights.max(-1, keepdim=True)
    first = torch.zeros_like(classes).scatter(-1, slots, classes).gather(-1, slot).squeeze(-1)  # [B, N]
    counted = (best.squeeze(-1) > 1e-6) & (targets.row_weights > 0)
    right = (logits.argmax(-1).view_as(first) == first) & counted
    return 100.0 * right.sum() / counted.sum().clamp(min=1)
