"""Soft cross-entropy of sparse label distributions, in closed form."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from mmtl.models.token_labels.targets import TokenTargets

# Rows are taken in chunks of this many logits: on a CPU a chunk stays in the cache, on a GPU the float32 working
# copy of bf16 logits stays small.
_CHUNK_LOGITS = {"cpu": 2**18, "cuda": 2**25}


def token_label_loss(logits: Tensor, targets: TokenTargets, token_weights: Tensor | None = None) -> Tensor:
    """Mean soft cross-entropy H(logits, targets) over tokens and batch.

    With p = tail everywhere + weights on a few classes, each token's loss is

        mass * logsumexp(z) - tail * sum(z) - sum over entries of weight * z[class],    mass = sum of p,

    so no dense target is ever made. The gradient is computed with the loss, in one pass over the logits.

    Args:
        logits: [B, N, K] (or [B, K] where N is 1), any floating type; computed in float32, or float64 if they are.
        targets: the label distributions of the same tokens.
        token_weights: [B, N], 0 or more, multiplies the targets' own row weights. Tokens of weight 0 are left out,
            the mean is over the weights' sum.

    Returns:
        Tensor: scalar, float32 (or float64 for such logits).

    Raises:
        ValueError: if the logits or the token weights do not fit the targets.

    Source: paper, section 3.1.
    """
    batch, tokens = targets.tail.shape
    shape = tuple(logits.shape)
    fits = shape == (batch, tokens, targets.num_classes)
    if not fits and not (tokens == 1 and shape == (batch, targets.num_classes)):
        raise ValueError(
            f"token_label_loss wants logits [{batch}, {tokens}, {targets.num_classes}] for {targets!r}, "
            f"got {list(logits.shape)}"
        )
    if token_weights is not None:
        if token_weights.shape != targets.tail.shape:
            raise ValueError(f"token_weights must be [{batch}, {tokens}], got {list(token_weights.shape)}")
        if not ((token_weights >= 0) & token_weights.isfinite()).all():
            raise ValueError("token_weights must be finite and 0 or more")
        targets = targets.weighted(token_weights)
    total = _SparseSoftCrossEntropy.apply(
        logits.reshape(-1, targets.num_classes),
        targets.classes.flatten(0, 1),
        targets.weights.flatten(0, 1),
        targets.tail.flatten(),
    )
    return total / targets.row_weights.sum().clamp(min=torch.finfo(torch.float32).tiny)


def process_weight(row_weights: Tensor | None, device: torch.device) -> Tensor | float:
    """What makes the mean loss of this process its part of the mean over the tokens of all processes.

    Distributed training averages the gradients of the processes as if all had as many tokens to learn from. With
    this factor the average is that over all tokens, however those that do not count (erased, without a score map)
    are spread. Every process has to call it in every step.

    Args:
        row_weights: weights of this process's tokens; None for a batch without score maps.
        device: where the loss is.

    Returns:
        Tensor: float32 scalar; 1.0 in a run of one process.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return 1.0
    own = torch.zeros((), device=device) if row_weights is None else row_weights.sum()
    total = own.clone()
    dist.all_reduce(total)
    return own * dist.get_world_size() / total.clamp(min=torch.finfo(torch.float32).tiny)


class _SparseSoftCrossEntropy(torch.autograd.Function):
    """Sum of the rows' losses; each row's gradient is made with its loss and kept for the backward pass."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, classes: Tensor, weights: Tensor, tail: Tensor) -> Tensor:
        """Logits [R, K], entries [R, M], tail [R]."""
        losses, ctx.grad = _losses_and_gradient(logits, classes, weights, tail, ctx.needs_input_grad[0])
        ctx.save_for_backward(logits, classes, weights, tail)
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_loss: Tensor) -> tuple:
        """The kept gradient, scaled in place: two of the logits' size are never held. A second pass makes it anew."""
        grad = _losses_and_gradient(*ctx.saved_tensors, True)[1] if ctx.grad is None else ctx.grad
        ctx.grad = None
        # The mean is taken outside: float16 would lose gradients that no loss scale has been applied to.
        return grad.mul_(grad_loss), None, None, None


def _losses_and_gradient(
    logits: Tensor, classes: Tensor, weights: Tensor, tail: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Losses [R], and their gradients [R, K] in the logits' type if wanted."""
    grad = torch.empty_like(logits) if with_gradient else None
    dtype = torch.promote_types(logits.dtype, torch.float32)
    weights, tail = weights.to(dtype), tail.to(dtype)
    mass, losses = tail * logits.shape[-1] + weights.sum(-1), torch.empty_like(tail)
    rows = max(1, _CHUNK_LOGITS.get(logits.device.type, 2**25) // logits.shape[-1])
    for start in range(0, len(logits), rows):
        chunk = slice(start, start + rows)
        inputs = (x[chunk] for x in (classes, weights, tail, mass))
        losses[chunk], row_grads = _row_losses(logits[chunk].to(dtype), *inputs, with_gradient)
        if with_gradient:
            grad[chunk] = row_grads
    return losses, grad


def _row_losses(
    logits: Tensor, classes: Tensor, weights: Tensor, tail: Tensor, mass: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Losses [R] and their gradients mass * softmax - tail - weights, [R, K]."""
    peak = logits.amax(-1, keepdim=True)
    exps = (logits - peak).exp_()
    norm = exps.sum(-1, keepdim=True)
    log_norm = (norm.log() + peak).squeeze(-1)
    named = (weights * logits.gather(-1, classes)).sum(-1)
    losses = mass * log_norm - tail * logits.sum(-1) - named
    if not with_gradient:
        return losses, None
    grad = exps.mul_(mass.unsqueeze(-1) / norm).sub_(tail.unsqueeze(-1))
    return losses, grad.scatter_add_(-1, classes, -weights)
