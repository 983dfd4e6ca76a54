"""Softmax over many classes of which a few are listed, never as a dense tensor."""

import sys

import torch
from torch import Tensor

# Position of the two halves of a packed entry when it is viewed as two numbers of 32 bits.
_VALUE, _CLASS = (0, 1) if sys.byteorder == "little" else (1, 0)


def pack_entries(values: Tensor, classes: Tensor) -> Tensor:
    """Join each value with its class, so that they are read, moved and sorted as one number.

    Args:
        values: floating, any shape.
        classes: integer, of the same shape, below 2^31.

    Returns:
        Tensor: int64 of the same shape, the class in the upper half, the bits of the float32 value in the lower.
    """
    halves = torch.empty(*values.shape, 2, dtype=torch.int32, device=values.device)
    halves[..., _VALUE] = values.float().view(torch.int32)
    halves[..., _CLASS] = classes
    return halves.view(torch.int64).squeeze(-1)


def scale_entries(entries: Tensor, factors: Tensor) -> Tensor:
    """Multiply the values of packed entries in place; factors broadcast to them."""
    _values(entries).mul_(factors)
    return entries


def unpack_entries(entries: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classes, int64 in the memory of the entries, and the float32 values."""
    values = _values(entries).contiguous()
    return entries.bitwise_right_shift_(32), values


def _values(entries: Tensor) -> Tensor:
    """The values of packed entries, float32, in the same memory."""
    return entries.unsqueeze(-1).view(torch.float32)[..., _VALUE]


def sum_by_class(entries: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the values of equal classes along the last axis.

    A segmented sum: sorting makes equal classes neighbors, a running count of class changes numbers the segments, and
    each segment is added up in the slot of its number. Comparing all M x M pairs instead needs no sort, but takes 25
    times as long on a CPU and M times the memory unless it is fused by a compiler.

    Args:
        entries: int64 [..., M], packed classes and values; overwritten.

    Returns:
        tuple: classes int64 and sums float32, both [..., M]: first the classes that occur, in ascending order, then
        slots of class 0 with sum 0.
    """
    if entries.is_cpu and not torch.compiler.is_compiling():
        entries.numpy().sort(axis=-1)  # in place, and more than ten times as fast as torch.sort on short rows
    else:
        entries = entries.sort(dim=-1).values
    classes, values = unpack_entries(entries)
    segments = torch.zeros_like(classes)
    segments[..., 1:] = classes[..., 1:] != classes[..., :-1]
    segments = segments.cumsum(-1)
    sums = torch.zeros_like(values).scatter_add_(-1, segments, values)
    return torch.zeros_like(classes).scatter_(-1, segments, classes), sums


def softmax_of_entries(entries: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax over K classes, each with the sum of the logits that the entries give it, or 0.

    Args:
        entries: int64 [B, N, M], packed classes and logits; overwritten.
        num_classes: K.

    Returns:
        tuple: classes int64 [B, N, min(M, K)], weights above the tail of the same shape, and the tail [B, N].
    """
    if num_classes <= entries.shape[-1]:
        return _softmax_over_all(*unpack_entries(entries), num_classes)
    classes, logits = sum_by_class(entries)
    # An empty slot represents one of the classes without entry: their logit is 0, and M slots are M classes then.
    peak = logits.amax(-1, keepdim=True).clamp_(min=0)
    exps, tail = logits.sub_(peak).exp_(), (-peak).exp_()
    norm = exps.sum(-1, keepdim=True) + (num_classes - exps.shape[-1]) * tail
    tail = tail / norm
    return classes, torch.addcmul(-tail, exps, 1 / norm, out=exps), tail.squeeze(-1)


def _softmax_over_all(classes: Tensor, logits: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same when there are no more classes than entries: every class gets a slot."""
    sums = logits.new_zeros(*logits.shape[:-1], num_classes).scatter_add_(-1, classes, logits)
    every_class = torch.arange(num_classes, device=classes.device).expand_as(sums)
    probabilities = sums.softmax(-1)
    tail = probabilities.amin(-1, keepdim=True)  # so that a uniform label prefers no class
    return every_class, probabilities.sub_(tail), tail.squeeze(-1)
