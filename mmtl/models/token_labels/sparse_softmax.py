"""Softmax over many classes of which a few are named, never as a dense tensor."""

import sys

import torch
from torch import Tensor

# Where the two halves of a packed entry lie when it is seen as two numbers of 32 bits.
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
    """Classes int64, in the memory of the entries, and float32 values."""
    values = _values(entries).contiguous()
    return entries.bitwise_right_shift_(32), values


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
    entries = sort_entries(entries)
    firsts = first_of_classes(entries)
    classes, logits = unpack_entries(entries)
    add_up_runs(logits, firsts)
    # An entry that repeats a class stands in for one of the classes that have no entry: their logit is 0, and
    # M entries are M different classes then.
    logits.mul_(firsts)
    peak = logits.amax(-1, keepdim=True).clamp_(min=0)
    exps, tail = logits.sub_(peak).exp_(), (-peak).exp_()
    norm = exps.sum(-1, keepdim=True) + (num_classes - exps.shape[-1]) * tail
    tail = tail / norm
    return classes, torch.addcmul(-tail, exps, 1 / norm, out=exps), tail.squeeze(-1)


def _softmax_over_all(classes: Tensor, logits: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same when there are no more classes than entries: every class gets one."""
    sums = logits.new_zeros(*logits.shape[:-1], num_classes).scatter_add_(-1, classes, logits)
    every_class = torch.arange(num_classes, device=classes.device).expand_as(sums)
    probabilities = sums.softmax(-1)
    tail = probabilities.amin(-1, keepdim=True)  # so that a uniform label prefers no class
    return every_class, probabilities.sub_(tail), tail.squeeze(-1)


def _halves(entries: Tensor) -> Tensor:
    """Packed entries as pairs of int32 numbers [..., 2], in the same memory."""
    return entries.unsqueeze(-1).view(torch.int32)


def _values(entries: Tensor) -> Tensor:
    """The values of packed entries, float32, in the same memory."""
    return entries.unsqueeze(-1).view(torch.float32)[..., _VALUE]


def sort_entries(entries: Tensor) -> Tensor:
    """Packed entries ordered by class along the last axis; on a CPU they are ordered in place."""
    if not entries.is_cpu or torch.compiler.is_compiling():
        return entries.sort(dim=-1).values
    entries.numpy().sort(axis=-1)  # in place, and more than ten times as fast as torch.sort on short rows
    return entries


def first_of_classes(entries: Tensor) -> Tensor:
    """1 for an entry that is the first of its class and 0 for one that repeats it, float32, for sorted entries."""
    # In float32, which holds the classes exactly, every step runs on vectors of numbers, on bool it would not.
    classes = _halves(entries)[..., _CLASS].float()
    firsts = classes.clone()
    firsts.view(-1)[1:].sub_(classes.view(-1)[:-1])
    firsts[..., 0] = 1
    return firsts.clamp_(max=1)


def add_up_runs(values: Tensor, firsts: Tensor) -> None:
    """Add the values of each run (a first entry and the others that follow it) to its first entry, in place.

    The other entries of a run are left with parts of the sum. Reach doubles with each step, so that a run of M takes
    log2(M) of them.
    """
    flat, joined, step = values.view(-1), 1 - firsts.view(-1)[1:], 1  # joined[i]: entry i + step is in the run of i
    while step < values.shape[-1]:
        # On another device than the CPU the question would cost more than the steps that it saves.
        if joined.is_cpu and not torch.compiler.is_compiling() and not joined.sum():
            return
        flat[:-step] += flat[step:] * joined
        joined = joined[:-step] * joined[step:]
        step *= 2
