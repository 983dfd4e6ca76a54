"""The transformer block of LV-ViT: pre-norm attention and MLP whose residual branches are divided by a constant."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn

BLOCK_KINDS = ("full", "attention", "mlp")
SUBSET_ABOVE = 0.1  # rate below which computing only a part of the batch takes longer than it saves (DINOv2's code)


class Attention(nn.Module):
    """Multi-head self-attention of tokens [B, N, C]; ``head_dims=None`` means C / num_heads."""

    def __init__(self, *, embed_dims: int, num_heads: int, head_dims: int | None, qkv_bias: bool) -> None:
        super().__init__()
        if head_dims is None and embed_dims % num_heads:
            raise ValueError(
                f"embed_dims must be a multiple of num_heads {num_heads} without head_dims, got {embed_dims}."
            )
        self.num_heads = num_heads
        inner_dims = num_heads * (embed_dims // num_heads if head_dims is None else head_dims)
        self.qkv = nn.Linear(embed_dims, 3 * inner_dims, bias=qkv_bias)
        self.proj = nn.Linear(inner_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, C] to [B, N, C]."""
        # Split into the three before the heads: their gradients are then joined in the memory layout of qkv's output.
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, heads, N, head_dims]
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        x = F.scaled_dot_product_attention(query, key, value)
        return self.proj(x.transpose(1, 2).flatten(2))  # of [B, N, heads * head_dims]


class MLP(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, *, embed_dims: int, feedforward_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, feedforward_channels)
        self.fc2 = nn.Linear(feedforward_channels, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, C] to [B, N, C]."""
        return self.fc2(F.gelu(self.fc1(x)))


def add_branch(
    x: Tensor, normed: Tensor, branch: Callable[[Tensor], Tensor], drop_rate: float, scale: float
) -> Tensor:
    """Add a residual branch with drop path, at high rates without the work for most of the images that are dropped.

    Each image is kept with probability 1 - drop_rate and becomes x + scale / (1 - drop_rate) * branch(normed); the
    others stay x. Above ``SUBSET_ABOVE`` the branch is computed for ceil(B * (1 - drop_rate)) images drawn at random,
    so that all shapes are fixed (for a compiler) and known on the host. Each of them is still dropped with the small
    probability by which rounding up exceeds the rate: an image's distribution is exactly that of independent drops,
    only the number of images kept in a batch varies less.

    Args:
        x: tokens [B, N, C].
        normed: input of the branch [B, N, C]. All images are normalized, as selecting from x would keep a copy of it.
        branch: maps tokens [b, N, C] of some images to the same shape; treats each image separately.
        drop_rate: probability that an image is dropped, in (0, 1).
        scale: factor of the branch.

    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, per image as in timm; computing a subset of
    fixed size as in DINOv2's released code, which drops exactly that share.
    """
    batch, keep_rate, scale = len(x), 1 - drop_rate, scale / (1 - drop_rate)
    computed = math.ceil(batch * keep_rate - 1e-9) if drop_rate > SUBSET_ABOVE else batch
    if computed == batch:
        branched = branch(normed)
        kept = torch.rand(batch, 1, 1, device=x.device) >= drop_rate
        return torch.add(x, branched * kept, alpha=scale)
    images = torch.randperm(batch, device=x.device)[:computed]
    branched = branch(normed.index_select(0, images))
    kept = torch.rand(computed, 1, 1, device=x.device) < batch * keep_rate / computed
    return x.index_add(0, images, (branched * kept).to(x.dtype), alpha=scale)


class Block(nn.Module):
    """x + f(norm(x)) / s for attention, then for the MLP; s is the residual divisor.

    A block of only attention or only the MLP multiplies the input of its norm by s (released code only: it matters
    for nothing but the norm's epsilon).

    Args:
        kind: 'full', 'attention' or 'mlp'.
        residual_divisor: s.
        drop_path_rate: probability that a residual branch is dropped in training, per image; see :func:`add_branch`.
        norm_cfg: config of the norm layers.
        embed_dims: channels C of a token.
        feedforward_channels: channels of the MLP's hidden layer.
        attention: ``num_heads``, ``head_dims`` and ``qkv_bias`` of :class:`Attention`.
    """

    def __init__(
        self,
        *,
        kind: str,
        residual_divisor: float,
        drop_path_rate: float,
        norm_cfg: dict,
        embed_dims: int,
        feedforward_channels: int,
        **attention: object,
    ) -> None:
        super().__init__()
        self.residual_scale, self.drop_path_rate = 1 / residual_divisor, drop_path_rate
        self.norm_scale = 1.0 if kind == "full" else residual_divisor
        self.with_attention, self.with_mlp = kind != "mlp", kind != "attention"
        if self.with_attention:
            self.norm1 = build_norm_layer(norm_cfg, embed_dims)
            self.attn = Attention(embed_dims=embed_dims, **attention)
        if self.with_mlp:
            self.norm2 = build_norm_layer(norm_cfg, embed_dims)
            self.mlp = MLP(embed_dims=embed_dims, feedforward_channels=feedforward_channels)

    def _residual(self, x: Tensor, norm: nn.Module, branch: nn.Module) -> Tensor:
        normed = norm(x) if self.norm_scale == 1 else norm(self.norm_scale * x)
        if self.training and self.drop_path_rate > 0:
            return add_branch(x, normed, branch, self.drop_path_rate, self.residual_scale)
        return torch.add(x, branch(normed), alpha=self.residual_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, C] to [B, N, C]."""
        if self.with_attention:
            x = self._residual(x, self.norm1, self.attn)
        if self.with_mlp:
            x = self._residual(x, self.norm2, self.mlp)
        return x
