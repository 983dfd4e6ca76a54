"""MixToken inside the backbones of mmpretrain and timm, and what their features look like."""

import math
from collections.abc import Iterator, Sequence
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
        name = getattr(backbone, "model_name", type(backbone).__name__)
        reason = getattr(backbone, "why_no_patches", None) or f"no {' or '.join(PATCH_EMBEDDINGS)}"
        raise ValueError(
            f"MixToken mixes tokens after patch embedding, and {name} has none ({reason}). "
            "Use batch_augments=dict(augments=[dict(type='mmtl.CutMix')]) with this backbone."
        )
    return found


@contextmanager
def mixed_after_patch_embedding(backbone: nn.Module, token_mix: TokenMix) -> Iterator[None]:
    """Mix the output tokens of the backbone's patch embedding within this context.

    The hook exists only during the forward pass, and is one function for all draws: a compiled forward pass inside the
    context is compiled once.

    Args:
        backbone: its patch embedding returns patches in one of the layouts of :func:`mix_patches`, alone or in a tuple
            before their grid (h, w).
        token_mix: the mask is for the grid of the output tokens; see :func:`mask_on_grid`.
    """
    embedding = patch_embedding(backbone)
    embedding.token_mix, handle = token_mix, embedding.register_forward_hook(mix_output)
    try:
        yield
    finally:
        handle.remove()
        del embedding.token_mix


def mix_output(embedding: nn.Module, args: tuple, output: Tensor | tuple) -> Tensor | tuple:
    """Mix the output of a patch embedding by its ``token_mix``; a forward hook."""
    patches, *rest = output if isinstance(output, tuple) else (output,)
    channels_last = getattr(embedding, "output_fmt", None) == "NHWC"
    mixed = mix_patches(patches, tuple(args[0].shape[-2:]), embedding.token_mix, channels_last, *rest[:1])
    return (mixed, *rest) if rest else mixed


def mix_patches(
    patches: Tensor,
    image_hw: tuple[int, int],
    token_mix: TokenMix,
    channels_last: bool = False,
    grid_hw: Sequence[int] | None = None,
) -> Tensor:
    """Mix the output of a patch embedding.

    Args:
        patches: [B, C, h, w], [B, h, w, C], [B * N, pixels, C], or [B, P + N, C] after P class and register tokens,
            which are not mixed.
        image_hw: pixels of the images, for the grid of patches [B, P + N, C].
        token_mix: MixToken's draw.
        channels_last: whether four-dimensional patches are [B, h, w, C] even if [B, C, h, w] would fit the images.
        grid_hw: grid of patches [B, N, C], if known.
    """
    batch = len(token_mix.partner)
    if len(patches) != batch:  # tokens within patches
        tokens = patches.unflatten(0, (batch, -1)).flatten(2)
        return mix_patches(tokens, image_hw, token_mix).reshape(patches.shape)
    if patches.ndim == 4 and not channels_last and patches.shape[2] * image_hw[1] == patches.shape[3] * image_hw[0]:
        return mix_patches(patches.permute(0, 2, 3, 1), image_hw, token_mix, True).permute(0, 3, 1, 2)
    if patches.ndim == 4:
        grid_hw = patches.shape[1:3]
        return mix_patches(patches.flatten(1, 2), image_hw, token_mix, grid_hw=grid_hw).unflatten(1, grid_hw)
    if grid_hw is None:
        count = token_mix.mask.shape[-1]
        count *= max(1, math.isqrt(patches.shape[1] // count)) ** 2
        aspect = image_hw[0] / image_hw[1]
        grid_hw = round((count * aspect) ** 0.5), round((count / aspect) ** 0.5)
    num_prefix = patches.shape[1] - grid_hw[0] * grid_hw[1]
    mixed = mix_tokens(patches[:, num_prefix:], mask_on_grid(token_mix.mask, tuple(grid_hw)), token_mix.partner)
    return torch.cat((patches[:, :num_prefix], mixed), dim=1) if num_prefix else mixed


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
def empty_image_features(backbone: nn.Module, neck: nn.Module | None) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
    """Return the features of an empty image of the backbone's ``img_size``, or 224 pixels, and that size (H, W)."""
    size_hw = to_2tuple(getattr(backbone, "img_size", 224))
    first = next(backbone.parameters())
    channels = getattr(backbone, "in_channels", None)
    parts = [part for part in (backbone, neck) if part is not None]
    for part in parts:
        part.eval()
    feats = backbone(torch.zeros(1, channels if isinstance(channels, int) else 3, *size_hw, device=first.device))
    feats = feats if neck is None else neck(feats)
    for part in parts:
        part.train()
    return feats, size_hw


def head_in_channels(backbone: nn.Module, neck: nn.Module | None, channels_first: bool) -> int:
    """Return the channels of the features that :class:`mmtl.TokenLabelHead` gets from backbone and neck."""
    if neck is None and hasattr(backbone, "feature_channels"):
        return backbone.feature_channels[-1]
    feature = empty_image_features(backbone, neck)[0][-1]
    return feature.shape[1 if feature.ndim == 4 or channels_first else -1]


def map_shapes(backbone: nn.Module, neck: nn.Module | None) -> tuple[list[int], list[int]]:
    """Return the channels and strides (pixels) of the maps that segmentation heads get from backbone and neck."""
    if neck is None and hasattr(backbone, "feature_channels"):
        return backbone.feature_channels, backbone.feature_strides
    maps, size_hw = empty_image_features(backbone, neck)
    return [each.shape[1] for each in maps], [size_hw[0] // each.shape[2] for each in maps]


def token_stride(backbone: nn.Module, neck: nn.Module | None, head: nn.Module | None) -> int | None:
    """Return the pixels of the input per patch token: the backbone's patch size, or measured on an empty image.

    Only :class:`mmtl.TokenLabelHead` separates patch tokens from other features: None for another head.
    """
    for name in ("token_stride", "patch_size"):
        if isinstance(stride := getattr(backbone, name, None), int):
            return stride
    if not isinstance(head, TokenLabelHead):
        return None
    feats, size_hw = empty_image_features(backbone, neck)
    num_tokens = head.pre_logits(feats)[1].shape[1]
    stride = math.isqrt(size_hw[0] * size_hw[1] // num_tokens)
    if stride**2 * num_tokens != size_hw[0] * size_hw[1]:
        raise ValueError(
            f"The patch tokens of {type(backbone).__name__} must be square patches, got {num_tokens} tokens for an "
            f"image of {size_hw} pixels (H, W). Set data_preprocessor=dict(token_stride=...). With out_type='raw' the "
            "backbone needs its class token."
        )
    return stride
