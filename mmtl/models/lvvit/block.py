"""The transformer block of LV-ViT: pre-norm attention and MLP whose residual branches are divided by a constant."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn

BLOCK_KINDS = ("full", "attention", "mlp")


class Attention(nn.Module):
    """Multi-head self-attention through ``scaled_dot_product_attention``.

    Args:
        embed_dims: channels C of a token.
        num_heads: number of heads.
        head_dims: channels of one head; None means C / num_heads.
        qkv_bias: whether query, key and value have a bias.
        drop_rate: dropout of the output.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, head_dims: int | None, qkv_bias: bool, drop_rate: float
    ) -> None:
        super().__init__()
        if head_dims is None and embed_dims % num_heads:
            raise ValueError(
                f"embed_dims {embed_dims} is no multiple of num_heads {num_heads}: change one or set head_dims"
            )
        self.num_heads = num_heads
        inner_dims = num_heads * (head_dims or embed_dims // num_heads)
        self.qkv = nn.Linear(embed_dims, 3 * inner_dims, bias=qkv_bias)
        self.proj = nn.Linear(inner_dims, embed_dims)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        # Cut before the heads are: the gradients of the three are then joined in the layout that qkv wants.
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, heads, N, head_dims]
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        x = F.scaled_dot_product_attention(query, key, value)
        x = x.transpose(1, 2).flatten(2)  # [B, N, heads * head_dims]
        return self.drop(self.proj(x))


class MLP(nn.Module):
    """Two linear layers with an exact GELU between them.

    Args:
        embed_dims: channels C of a token.
        feedforward_channels: channels of the hidden layer.
        drop_rate: dropout after each linear layer.
    """

    def __init__(self, embed_dims: int, feedforward_channels: int, drop_rate: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, feedforward_channels)
        self.fc2 = nn.Linear(feedforward_channels, embed_dims)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))


def add_branch_of_kept(
    x: Tensor, normed: Tensor, branch: Callable[[Tensor], Tensor], drop_rate: float, scale: float
) -> Tensor:
    """Drop path without the work that is dropped.

    Images that are kept become x + scale / (1 - drop_rate) * branch(normed), the others stay x.

    Args:
        x: tokens [B, N, C].
        normed: what the branch takes, [B, N, C]. It is normalised whole, as cutting x would keep a copy of it.
        branch: maps some images' tokens [b, N, C] to as many; treats each image by itself.
        drop_rate: probability that an image is dropped, in (0, 1).
        scale: factor of the branch.

    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, per image as in timm.
    """
    # Drawn on the CPU: the number of images kept is needed there, and asking a device for it would wait for it.
    kept = (torch.rand(len(x)) >= drop_rate).nonzero().flatten()
    if len(kept) == 0:  # every weight still gets a gradient (of zero), as distributed training wants it
        return torch.add(x, branch(normed[:1]).sum(), alpha=0.0)
    kept = kept.to(x.device, non_blocking=True)
    branched = branch(normed.index_select(0, kept))
    return x.index_add(0, kept, branched.to(x.dtype), alpha=scale / (1 - drop_rate))


class Block(nn.Module):
    """x + f(norm(x)) / s for attention, then for the MLP; s is the residual divisor.

    A block of attention alone or of the MLP alone multiplies the input of its norm by s (released code only: it
    matters for the norm's epsilon and nothing else).

    Args:
        kind: 'full', 'attention' or 'mlp'.
        embed_dims: channels C of a token.
        num_heads: number of attention heads.
        feedforward_channels: channels of the MLP's hidden layer.
        residual_divisor: s.
        head_dims: channels of one head; None means C / num_heads.
        qkv_bias: whether query, key and value have a bias.
        drop_rate: dropout of the linear layers.
        drop_path_rate: probability that a residual branch is dropped in training, per image.
        norm_cfg: config of the norm layers.
    """

    def __init__(
        self,
        kind: str,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        residual_divisor: float,
        head_dims: int | None,
        qkv_bias: bool,
        drop_rate: float,
        drop_path_rate: float,
        norm_cfg: dict,
    ) -> None:
        super().__init__()
        self.residual_scale = 1 / residual_divisor
        self.norm_scale = 1.0 if kind == "full" else residual_divisor
        self.with_attention, self.with_mlp = kind != "mlp", kind != "attention"
        if self.with_attention:
            self.norm1 = build_norm_layer(norm_cfg, embed_dims)
            self.attn = Attention(embed_dims, num_heads, head_dims, qkv_bias, drop_rate)
        if self.with_mlp:
            self.norm2 = build_norm_layer(norm_cfg, embed_dims)
            self.mlp = MLP(embed_dims, feedforward_channels, drop_rate)
        self.drop_path = DropPath(drop_path_rate)

    def _residual(self, x: Tensor, norm: nn.Module, branch: nn.Module) -> Tensor:
        normed = norm(x) if self.norm_scale == 1 else norm(self.norm_scale * x)
        # A compiled graph wants shapes that do not depend on draws; there, what is dropped is computed and zeroed.
        if self.drop_path.training and 0 < self.drop_path.drop_prob < 1 and not torch.compiler.is_compiling():
            return add_branch_of_kept(x, normed, branch, self.drop_path.drop_prob, self.residual_scale)
        return torch.add(x, self.drop_path(branch(normed)), alpha=self.residual_scale)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        if self.with_attention:
            x = self._residual(x, self.norm1, self.attn)
        if self.with_mlp:
            x = self._residual(x, self.norm2, self.mlp)
        return x
