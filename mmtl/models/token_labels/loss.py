"""Soft cross-entropy of sparse label distributions, in closed form."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from mmtl.models.token_labels.targets import TokenTargets

# Rows are processed in chunks of this many logits: on a CPU a chunk stays in the cache, on a GPU the float32 working
# copy of bfloat16 logits stays small.
_CHUNK_LOGITS = {"cpu": 2**18, "cuda": 2**25}


def token_label_loss(logits: Tensor, targets: TokenTargets) -> Tensor:
    """Compute the mean soft cross-entropy H(logits, targets) over tokens and batch, by the tokens' weights.

    With p = tail everywhere + weights on a few classes, each token's loss is

        mass * logsumexp(z) - tail * sum(z) - sum over entries of weight * z[class],    mass = sum of p,

    so no dense target is ever made. The gradient is computed with the loss, in one pass over the logits.

    Args:
        logits: [B, N, K] (or [B, K] where N is 1), any floating type; computed in float32, or float64 if they are.
        targets: the label distributions of the same tokens.

    Returns:
        Tensor: scalar, float32 (or float64 for such logits).

    Source: paper, section 3.1.
    """
    batch, tokens, num_classes = *targets.tail.shape, targets.num_classes
    shape = tuple(logits.shape)
    if shape != (batch, tokens, num_classes) and (tokens > 1 or shape != (batch, num_classes)):
        raise ValueError(f"logits must be [{batch}, {tokens}, {num_classes}] for these targets, got {list(shape)}.")
    rows = logits.reshape(-1, shape[-1]), *(x.flatten(0, 1) for x in (targets.classes, targets.weights, targets.tail))
    # A compiler fuses the formula, and its backward pass, by itself.
    plain = torch.compiler.is_compiling() or not (logits.requires_grad and torch.is_grad_enabled())
    total = _sum_of_losses(*rows) if plain else _SparseSoftCrossEntropy.apply(*rows)
    return total / targets.row_weights.sum().clamp(min=torch.finfo(torch.float32).tiny)


def rank_weight(row_weights: Tensor | None, device: torch.device) -> Tensor | float:
    """Return the factor that makes the mean loss of this rank its part of the mean over the tokens of all ranks.

    Distributed training averages the gradients of the ranks as if all had the same number of tokens to learn from.
    With this factor the average is over all tokens, however those without weight (erased, without a score map) are
    distributed. A collective operation: every rank has to call it in every step.

    Args:
        row_weights: weights of this rank's tokens; None for a batch without score maps.
        device: device of the loss.

    Returns:
        Tensor: float32 scalar; 1.0 in a run of one rank.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return 1.0
    own = torch.zeros((), device=device) if row_weights is None else row_weights.sum()
    total = own.clone()
    dist.all_reduce(total)
    return own * dist.get_world_size() / total.clamp(min=torch.finfo(torch.float32).tiny)


class _SparseSoftCrossEntropy(torch.autograd.Function):
    """Sum the rows' losses; each row's gradient is computed with its loss and kept for the backward pass."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, classes: Tensor, weights: Tensor, tail: Tensor) -> Tensor:
        """Logits [R, K], entries [R, M], tail [R]."""
        losses, ctx.grad = _losses_and_gradient(logits, classes, weights, tail)
        ctx.save_for_backward(logits, classes, weights, tail)
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_loss: Tensor) -> tuple:
        """Scale the kept gradient in place: two of the logits' size are never held. A second pass recomputes it."""
        grad = _losses_and_gradient(*ctx.saved_tensors)[1] if ctx.grad is None else ctx.grad
        ctx.grad = None
        # The mean is taken outside: float16 would lose gradients that no loss scale has been applied to.
        return grad.mul_(grad_loss), None, None, None


def _losses_and_gradient(logits: Tensor, classes: Tensor, weights: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the losses [R] and their gradients [R, K] in the logits' type."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    weights, tail = weights.to(dtype), tail.to(dtype)
    mass = tail * logits.shape[-1] + weights.sum(-1)
    losses, grad = torch.empty_like(tail), torch.empty_like(logits)
    rows = max(1, _CHUNK_LOGITS.get(logits.device.type, 2**25) // logits.shape[-1])
    for start in range(0, len(logits), rows):
        chunk = slice(start, start + rows)
        inputs = (x[chunk] for x in (classes, weights, tail, mass))
        losses[chunk], grad[chunk] = _row_losses(logits[chunk].to(dtype), *inputs)
    return losses, grad


def _row_losses(logits: Tensor, classes: Tensor, weights: Tensor, tail: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the losses [R] and their gradients mass * softmax - tail - weights, [R, K]."""
    peak = logits.amax(-1, keepdim=True)
    exps = (logits - peak).exp_()
    norm = exps.sum(-1, keepdim=True)
    log_norm = (norm.log() + peak).squeeze(-1)
    listed = (weights * logits.gather(-1, classes)).sum(-1)
    losses = mass * log_norm - tail * logits.sum(-1) - listed
    grad = exps.mul_(mass.unsqueeze(-1) / norm).sub_(tail.unsqueeze(-1))
    return losses, grad.scatter_add_(-1, classes, -weights)


def _sum_of_losses(logits: Tensor, classes: Tensor, weights: Tensor, tail: Tensor) -> Tensor:
    """Sum the rows' losses, differentiated by autograd: logits [R, K], entries [R, M], tail [R]."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    mass = tail * logits.shape[-1] + weights.sum(-1)
    listed = (weights * logits.gather(-1, classes)).sum()
    return (mass * logits.logsumexp(-1)).sum() - (tail * logits.sum(-1)).sum() - listed
