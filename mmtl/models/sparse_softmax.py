"""Softmax over many classes of which a few are named, never as a dense tensor."""

import torch
from torch import Tensor


def merge_classes(classes: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the logits of equal classes of a token into the first of them.

    Args:
        classes: integer [B, N, M].
        logits: float32 [B, N, M].

    Returns:
        tuple: classes int64 [B, N, M] in ascending order, their logits, and which entry is the first of its class,
        bool [B, N, M].
    """
    classes, order = sort_classes(classes)
    logits = logits.gather(-1, order)
    firsts = torch.ones_like(classes, dtype=torch.bool)
    torch.ne(classes[..., 1:], classes[..., :-1], out=firsts[..., 1:])
    slots = order.copy_(firsts).cumsum_(-1).sub_(1)  # order's memory serves again: it is as large as the targets
    merged = torch.zeros_like(logits).scatter_add_(-1, slots, logits)
    return classes, torch.gather(merged, -1, slots, out=logits), firsts


def softmax_over_tail(logits: Tensor, named: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Softmax over K classes, the named ones with their logits, all others with logit 0.

    Args:
        logits: float32 [B, N, M]; overwritten.
        named: bool [B, N, M], the entries that count.
        num_classes: K.

    Returns:
        tuple: weights [B, N, M] above the tail, 0 in entries that do not count, and the tail [B, N].
    """
    num_others = num_classes - named.sum(-1, keepdim=True)
    logits.masked_fill_(~named, -torch.inf)
    peak = logits.amax(-1, keepdim=True)
    peak = torch.where(num_others > 0, peak.clamp(min=0), peak)
    tail = torch.where(num_others > 0, (-peak).exp(), 0.0)
    exps = logits.sub_(peak).exp_()
    norm = num_others * tail + exps.sum(-1, keepdim=True)
    return exps.sub_(tail * named).div_(norm), (tail / norm).squeeze(-1)


def sort_classes(classes: Tensor) -> tuple[Tensor, Tensor]:
    """Classes in ascending order along the last axis, int64, and where each came from."""
    entries = torch.arange(classes.shape[-1], device=classes.device)
    bits = len(entries).bit_length()
    keys = classes.to(torch.int64, copy=True).bitwise_left_shift_(bits).add_(entries)
    if keys.is_cpu and not torch.compiler.is_compiling():
        keys.numpy().sort(axis=-1)  # in place, and more than ten times as fast as torch.sort on short rows
    else:
        keys = keys.sort(dim=-1).values
    return keys >> bits, keys.bitwise_and_((1 << bits) - 1)
