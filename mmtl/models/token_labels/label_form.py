"""Forms of a token's label: its distribution, its top-1 class, or a relaxed sample, of confident tokens only."""

from dataclasses import replace

import torch
from torch import Tensor

from mmtl.models.token_labels.checks import check_label_form
from mmtl.models.token_labels.targets import PREFERRED, TokenTargets

LOWEST_TEMPERATURE = 1e-30  # samples are one-hot long before, and smaller quotients overflow


def label_form(
    targets: TokenTargets,
    form: str = "soft",
    temperature: float = 1.0,
    min_confidence: float = 0.0,
    noise: Tensor | None = None,
) -> TokenTargets:
    """Turn label distributions p into labels of another form, and leave out tokens of low confidence.

    The form 'soft' is p, 'hard' is one-hot at its top-1 class, 'gumbel' is softmax((log p + noise) / temperature),
    close to a sampled class at a low temperature, for which [B, N, K] numbers are held. A token whose label prefers
    no class, such as one outside the image, keeps its uniform label in every form.

    Args:
        targets: labels before smoothing.
        form: 'soft', 'hard' or 'gumbel'.
        temperature: above 0, of 'gumbel'.
        min_confidence: in [0, 1]; a token whose top-1 class has a smaller probability in p gets mass 0.
        noise: float32 [B, N, K], of :func:`gumbel_noise`, for 'gumbel'.

    Source: Zhao et al., arXiv 2401.03844 (Gumbel-Softmax, confidence); Jang et al., arXiv 1611.01144 (Gumbel-Softmax).
    """
    check_label_form(form, temperature, min_confidence)
    if form == "soft" and not min_confidence:
        return targets
    top, weight = targets.top()
    prefers = weight > PREFERRED * targets.row_weights
    mass = targets.row_weights
    formed = targets
    if form == "hard":
        share = prefers.float()
        formed = replace(
            targets,
            classes=top.unsqueeze(-1),
            weights=(mass * share).unsqueeze(-1),
            tail=mass * (1 - share) / targets.num_classes,
        )
    elif form == "gumbel":
        formed = _relaxed_sample(targets, temperature, noise, prefers)
    if not min_confidence:
        return formed
    return formed.weighted((targets.tail + weight >= min_confidence * mass).float())


def gumbel_noise(targets: TokenTargets) -> Tensor:
    """Draw standard Gumbel noise for every token and class, float32 [B, N, K], from the device's generator."""
    return targets.tail.new_empty(*targets.tail.shape, targets.num_classes).exponential_().log_().neg_()


def _relaxed_sample(targets: TokenTargets, temperature: float, noise: Tensor, prefers: Tensor) -> TokenTargets:
    # The clamp only concerns classes that an annotator excludes and tokens without mass.
    logits = targets.dense().clamp_(min=torch.finfo(torch.float32).tiny).log_().add_(noise)
    logits.div_(max(temperature, LOWEST_TEMPERATURE))
    sample = logits.softmax(-1) * targets.row_weights.unsqueeze(-1)
    uniform = (targets.row_weights / targets.num_classes).unsqueeze(-1)
    return TokenTargets.from_dense(
        torch.where(prefers.unsqueeze(-1), sample, uniform), targets.row_weights, targets.grid_hw
    )
