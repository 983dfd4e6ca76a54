"""MixToken inside mmpretrain's backbones, and their token stride."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from mmtl.models.batch_augments.mix_token import TokenMix, mix_tokens
from mmtl.models.head import TokenLabelHead

PATCH_EMBEDDINGS = ("patch_embed", "tokens_to_token")  # attribute names in mmpretrain's backbones


def patch_embedding(backbone: nn.Module) -> nn.Module:
    """Return the module of a backbone that turns images into tokens."""
    modules = (getattr(backbone, name, None) for name in PATCH_EMBEDDINGS)
    found = next((module for module in modules if isinstance(module, nn.Module)), None)
    if found is None:
        raise ValueError(
            "MixToken mixes tokens after patch embedding, and "
            f"{type(backbone).__name__} has none (no {' or '.join(PATCH_EMBEDDINGS)}). "
            "Use batch_augments=dict(augments=[dict(type='mmtl.CutMix')]) with this backbone."
        )
    return found


@contextmanager
def mixed_after_patch_embedding(backbone: nn.Module, token_mix: TokenMix) -> Iterator[None]:
    """Mix the output tokens of the backbone's patch embedding within this context.

    The hook exists only during the forward pass: a permanent one would be copied with the model (by EMA) and still
    refer to the original.

    Args:
        backbone: its patch embedding returns (tokens [B, N, C], grid (h, w)) or a map [B, C, h, w].
        token_mix: the mask is for the grid of the output tokens; see :func:`mask_on_grid`.
    """
    handle = patch_embedding(backbone).register_forward_hook(lambda module, args, output: _mixed(output, token_mix))
    try:
        yield
    finally:
        handle.remove()


def _mixed(output: Tensor | tuple[Tensor, tuple[int, int]], token_mix: TokenMix) -> Tensor | tuple:
    if isinstance(output, Tensor) and output.ndim == 4:  # [B, C, h, w]
        grid_hw = tuple(output.shape[-2:])
        tokens = _mixed((output.flatten(2).transpose(1, 2), grid_hw), token_mix)[0]
        return tokens.transpose(1, 2).unflatten(2, grid_hw)
    tokens, grid_hw = output
    return mix_tokens(tokens, mask_on_grid(token_mix.mask, grid_hw), token_mix.partner), grid_hw


def mask_on_grid(mask: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Expand the mask of the output tokens to a finer grid by repeating its cells.

    A hierarchical backbone embeds fine patches and merges f x f of them into one output token. With the box drawn on
    the output grid, every merged token shows one image only, and so does its label.

    Args:
        mask: bool [N] or [B, N], over the output tokens.
        grid_hw: finer grid (h, w), by the same integer factor f in both directions (1: the same grid).

    Returns:
        Tensor: bool [h * w] or [B, h * w].
    """
    h, w = grid_hw
    factor = max(1, math.isqrt(h * w // mask.shape[-1]))
    if h % factor or w % factor or h * w != mask.shape[-1] * factor**2:
        raise ValueError(
            f"MixToken's mask of {mask.shape[-1]} output tokens does not fit the {h}x{w} patches of the backbone. "
            "Use images whose sides are multiples of the token stride, and check token_stride."
        )
    if factor == 1:
        return mask
    coarse = mask.unflatten(-1, (h // factor, w // factor))
    return coarse.repeat_interleave(factor, -2).repeat_interleave(factor, -1).flatten(-2)


@torch.no_grad()
def token_stride(backbone: nn.Module, neck: nn.Module | None, head: nn.Module | None) -> int | None:
    """Return the pixels of the input per patch token: the backbone's patch size, or measured on an empty image.

    That image has the backbone's ``img_size``, or 224 pixels. Only :class:`mmtl.TokenLabelHead` separates patch tokens
    from other features: None for another head.
    """
    if isinstance(patch_size := getattr(backbone, "patch_size", None), int):
        return patch_size
    if not isinstance(head, TokenLabelHead):
        return None
    size_hw = to_2tuple(getattr(backbone, "img_size", 224))
    device = next(backbone.parameters()).device
    backbone.eval()
    feats = backbone(torch.zeros(1, 3, *size_hw, device=device))
    backbone.train()
    num_tokens = head.pre_logits(feats if neck is None else neck(feats))[1].shape[1]
    stride = math.isqrt(size_hw[0] * size_hw[1] // num_tokens)
    if stride**2 * num_tokens != size_hw[0] * size_hw[1]:
        raise ValueError(
            f"The patch tokens of {type(backbone).__name__} must be square patches, got {num_tokens} tokens for an "
            f"image of {size_hw} pixels (H, W). Set data_preprocessor=dict(token_stride=...). With out_type='raw' the "
            "backbone needs its class token."
        )
    return stride
