"""Softmax over many classes of which a few are listed, never as a dense tensor."""

import math
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ORDER = 1 if sys.byteorder == "little" else -1  # of the halves of a number of 64 bits in memory, the lower one first


def sum_by_class(values: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the values of equal classes along the last axis.

    A segmented sum: sorting makes equal classes neighbors, a running count of class changes numbers the segments, and
    each segment is added up in the slot of its number. Comparing all M x M pairs instead needs no sort, but takes 25
    times as long on a CPU and M times the memory unless a compiler fuses it.

    Args:
        values: float32 [..., M].
        classes: integer [..., M], below 2^31.

    Returns:
        tuple: classes int64 [..., M] and their sums float32 [..., M]. Slots without a class have sum 0 and one of the
        classes that occur.
    """
    classes, values = _sort_by_class(classes, values)
    changes = classes[..., 1:] != classes[..., :-1]
    segments = F.pad(changes, (1, 0)).cumsum(-1)
    sums = torch.zeros_like(values).scatter_add_(-1, segments, values)
    return classes.scatter(-1, segments, classes), sums


def _sort_by_class(classes: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Sort along the last axis, class and value joined in one number of 64 bits with the class in its upper half."""
    if classes.is_cpu and not torch.compiler.is_compiling():
        return _sort_on_host(classes.numpy(), values.numpy())
    halves = [values.view(torch.int32), classes.int()]  # as integers, the bits of the value only break ties
    entries = torch.stack(halves[::ORDER], dim=-1).view(torch.int64).sort(dim=-2).values  # [..., M, 1]
    value_bits, classes = entries.view(torch.int32).unbind(-1)[::ORDER]
    return classes.long(), value_bits.view(torch.float32)


def _sort_on_host(classes: np.ndarray, values: np.ndarray) -> tuple[Tensor, Tensor]:
    """Do the same by NumPy, more than ten times as fast as torch.sort on short rows."""
    entries = np.stack([values.view(np.int32), classes][::ORDER], axis=-1, dtype=np.int32, casting="unsafe")
    entries.view(np.int64).sort(axis=-2)
    value_bits, classes = np.moveaxis(entries, -1, 0)[::ORDER]
    return torch.from_numpy(classes.astype(np.int64)), torch.from_numpy(value_bits.view(np.float32))


def sparse_softmax(logits: Tensor, classes: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the softmax over K classes, each with the sum of its listed logits, or 0.

    Args:
        logits: float32 [B, N, M].
        classes: integer [B, N, M], the classes of the logits.
        num_classes: K.

    Returns:
        tuple: classes int64 [B, N, min(M, K)], weights above the tail of the same shape, and the tail [B, N].
    """
    if num_classes <= logits.shape[-1]:
        return _softmax_over_all(logits, classes, num_classes)
    classes, logits = sum_by_class(logits, classes)
    # Empty slots represent classes that are not listed, whose logit is 0, so that M slots are M classes. The K - M
    # others are one more slot: exp(log(K - M)) = (K - M) * exp(0).
    unlisted = num_classes - logits.shape[-1]
    probabilities = F.pad(logits, (0, 1), value=math.log(unlisted)).softmax(-1)
    listed, rest = probabilities.split((logits.shape[-1], 1), dim=-1)
    tail = rest / unlisted
    return classes, listed - tail, tail.squeeze(-1)


def _softmax_over_all(logits: Tensor, classes: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute :func:`sparse_softmax` if there are at most as many classes as logits: every class gets a slot."""
    sums = logits.new_zeros(*logits.shape[:-1], num_classes).scatter_add_(-1, classes.long(), logits)
    every_class = torch.arange(num_classes, device=classes.device).expand_as(sums)
    probabilities = sums.softmax(-1)
    tail = probabilities.amin(-1, keepdim=True)  # so that a uniform label prefers no class
    return every_class, probabilities.sub_(tail), tail.squeeze(-1)
