"""LV-ViT, the vision transformer of the token labeling paper, for classification and for segmentation."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.models.utils import build_norm_layer, resize_pos_embed, to_2tuple
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmtl.models.batch_augments.mix_token import TokenMix, mix_tokens
from mmtl.models.input_weights import check_input_options, fit_input_weights
from mmtl.models.lvvit.arch import arch_of_weights, arch_settings, describe_arch
from mmtl.models.lvvit.block import BLOCK_KINDS, Block
from mmtl.models.lvvit.loading import report_loaded
from mmtl.registry import MODELS
from mmtl.utils.checkpoint import check_finite, pretrained_init_cfg


class PatchEmbed(nn.Module):
    """Turn an image into patch tokens by the four-layer convolutional stem of LV-ViT, or by one projection.

    Args:
        patch_size: side of a patch in pixels; even with a stem, whose first layer halves the image.
        stem_channels: channels of the stem; None selects the plain projection of ViT.
        embed_dims: channels C of a token.
        in_channels: channels I of the images.

    Source: paper, section 3.3; released code for kernel sizes.
    """

    def __init__(self, patch_size: int, stem_channels: int | None, embed_dims: int, in_channels: int = 3) -> None:
        super().__init__()
        self.with_stem = stem_channels is not None
        if not self.with_stem:
            self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size)
            return
        if patch_size % 2:
            raise ValueError(f"patch_size must be even, as the stem of LVViT halves the image, got {patch_size}.")
        self.conv1 = nn.Conv2d(in_channels, stem_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_channels)
        self.conv2 = nn.Conv2d(stem_channels, stem_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(stem_channels)
        self.conv3 = nn.Conv2d(stem_channels, stem_channels, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(stem_channels)
        self.proj = nn.Conv2d(stem_channels, embed_dims, patch_size // 2, stride=patch_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, I, H, W] to [B, C, h, w], channels last in memory."""
        if self.with_stem:
            if x.is_cuda:  # convolutions and BatchNorm are faster in this layout there
                x = x.contiguous(memory_format=torch.channels_last)
            x = F.relu(self.bn1(self.conv1(x)), inplace=True)
            x = F.relu(self.bn2(self.conv2(x)), inplace=True)
            x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        # Kernel equals stride: as a matrix product over patches it takes half the time on a CPU, and is correct in
        # bfloat16, unlike the convolution of torch 2.15 for 8 or 16 channels (oneDNN, CPUs with AMX).
        side = self.proj.kernel_size[0]
        patches = x.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # [B, S, h, side, w, side]
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3)  # [B, h, w, S * side * side]
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias).permute(0, 3, 1, 2)


@MODELS.register_module()
class LVViT(BaseBackbone):
    """LV-ViT backbone.

    Args:
        arch: 'tiny', 'small', 'medium', 'large', or a dict with the keys embed_dims, num_layers, num_heads,
            feedforward_channels, stem_channels (None: plain patch projection), residual_divisor.
        img_size: pixels (side, or H and W) of the position embedding. Other sizes work: the position embedding is
            resized in each forward pass, and once when a checkpoint of another size is loaded.
        patch_size: side of a patch in pixels.
        in_channels: channels of the images.
        input_weights: how the first layer of a checkpoint of RGB images, also a released one, is loaded if in_channels
            is not 3. 'mean' gives all channels the mean of the three, scaled by 3 / in_channels; 'first' keeps those
            of the first channels, and further ones get zero.
        out_type: 'raw' gives [B, 1 + N, C] with the class token first, 'featmap' [B, C, h, w] without it,
            'cls_token' [B, C].
        out_indices: blocks whose output is returned; negative ones count from the end. Blocks after the last of them,
            and with them the final norm, are neither run nor trained.
        final_norm: whether the last block's output is normalized.
        blocks: 'full', 'attention' or 'mlp' for each block; None means all full.
        head_dims: channels of an attention head; None means embed_dims / num_heads.
        qkv_bias: whether query, key and value have a bias.
        drop_path_rate: probability of dropping a residual branch: grows linearly from 0 to this value, or a sequence
            with one value per block (equal ones for a constant rate).
        norm_cfg: config of the norms in and after the blocks.
        frozen_stages: -1 freezes nothing, 0 the patch and position embedding, i also the first i blocks, and the
            number of blocks also the final norm.
        norm_eval: whether the stem's BatchNorm keeps its running statistics in training.
        with_cp: whether the blocks are recomputed in the backward pass to save memory.
        pretrained: checkpoint of a complete model or of a backbone, as OpenMMLab's ``model.pretrained`` sets it; short
            for an ``init_cfg``.
        init_cfg: weight initialization, see mmengine.

    Source: paper, section 3.3 and table 1; released code for what the paper leaves open.
    """

    num_extra_tokens = 1  # the class token

    def __init__(
        self,
        arch: str | dict = "small",
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        input_weights: str = "mean",
        out_type: str = "raw",
        out_indices: int | Sequence[int] = -1,
        final_norm: bool = True,
        blocks: Sequence[str] | None = None,
        head_dims: int | None = None,
        qkv_bias: bool = False,
        drop_path_rate: float | Sequence[float] = 0.0,
        norm_cfg: dict = dict(type="LN", eps=1e-5),  # noqa: B006 - OpenMMLab's way, never modified
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        pretrained: str | None = None,
        init_cfg: dict | list | None = dict(type="TruncNormal", layer="Linear", std=0.02),  # noqa: B006
    ) -> None:
        super().__init__(pretrained_init_cfg(init_cfg, pretrained))
        self.arch = settings = arch_settings(arch)
        self.embed_dims, self.num_layers = settings["embed_dims"], settings["num_layers"]
        self.patch_size, self.out_type, self.frozen_stages = patch_size, out_type, frozen_stages
        self.norm_eval, self.with_cp = norm_eval, with_cp
        check_input_options(in_channels, input_weights)
        self.in_channels, self.input_weights = in_channels, input_weights
        self.out_indices = [out_indices] if isinstance(out_indices, int) else list(out_indices)
        kinds = ["full"] * self.num_layers if blocks is None else list(blocks)
        is_list = isinstance(drop_path_rate, Sequence)
        rates = list(drop_path_rate) if is_list else np.linspace(0, drop_path_rate, self.num_layers).tolist()
        self._check_options(kinds, rates)
        self.grid_hw = self._grid_hw(to_2tuple(img_size))

        self.patch_embed = PatchEmbed(patch_size, settings["stem_channels"], self.embed_dims, in_channels)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
        num_tokens = self.num_extra_tokens + self.grid_hw[0] * self.grid_hw[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens, self.embed_dims))
        shared = dict(settings, head_dims=head_dims, qkv_bias=qkv_bias, norm_cfg=norm_cfg)
        for key in ("num_layers", "stem_channels"):
            del shared[key]
        self.blocks = nn.ModuleList(
            Block(kind=kind, drop_path_rate=rate, **shared) for kind, rate in zip(kinds, rates, strict=True)
        )
        self.norm = build_norm_layer(norm_cfg, self.embed_dims) if final_norm else None
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)

        self._register_state_dict_hook(_note_grid)
        for hook in (self.check_loaded_arch, self._resize_loaded_pos_embed, self._report_loaded):
            self._register_load_state_dict_pre_hook(hook)
        self._freeze()

    def _check_options(self, kinds: Sequence[str], rates: Sequence[float]) -> None:
        """Check what would otherwise build another model than requested, or fail far from its cause."""
        if self.out_type not in ("raw", "featmap", "cls_token"):
            raise ValueError(f"out_type must be 'raw', 'featmap' or 'cls_token', got {self.out_type!r}.")
        total = self.num_layers
        if not self.out_indices or not set(self.out_indices) <= set(range(-total, total)):
            raise ValueError(f"out_indices must name some of the blocks 0 to {total - 1}, got {self.out_indices}.")
        resolved = [index % total for index in self.out_indices]
        if len(set(resolved)) < len(resolved):
            raise ValueError(f"out_indices must name each block once, got {self.out_indices}.")
        self.out_indices = resolved
        self.feature_channels = [self.embed_dims] * len(resolved)
        if len(kinds) != total or not set(kinds) <= set(BLOCK_KINDS):
            names = ", ".join(BLOCK_KINDS)
            raise ValueError(f"blocks must name one of {names} for each of {total} layers, got {kinds}.")
        if len(rates) != total or not all(0 <= rate < 1 for rate in rates):
            expected = f"at least 0 and below 1, for each of {total} layers"
            raise ValueError(f"drop_path_rate must be {expected}, got {rates}.")
        if not -1 <= self.frozen_stages <= total:
            raise ValueError(f"frozen_stages must be from -1 to {total} (all blocks), got {self.frozen_stages}.")

    def _grid_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the token grid of an image, which must be made of complete patches."""
        height, width = image_hw
        if any(side < 1 or side % self.patch_size for side in image_hw):
            suggested_hw = tuple(max(1, round(side / self.patch_size)) * self.patch_size for side in image_hw)
            raise ValueError(
                f"Image sides of LVViT must be multiples of the patch size {self.patch_size}, "
                f"got ({height}, {width}) (H, W). Resize or pad the image, for example to {suggested_hw}."
            )
        return height // self.patch_size, width // self.patch_size

    def check_loaded_arch(self, state_dict: dict, prefix: str, *args: object) -> None:
        """Refuse another architecture's checkpoint, of which some weights may happen to fit."""
        found = arch_of_weights(state_dict, prefix)
        if any(self.arch[key] != value for key, value in found.items()):
            raise ValueError(
                f"The checkpoint's backbone looks like {describe_arch(found)}, this LVViT is "
                f"{describe_arch(self.arch)}. Build the model of the checkpoint or load another checkpoint."
            )

    def _resize_loaded_pos_embed(self, state_dict: dict, prefix: str, metadata: dict, *args: object) -> None:
        """Fit the position embedding of a checkpoint that was trained at another image size."""
        name = f"{prefix}pos_embed"
        loaded = state_dict.get(name)
        if loaded is None or loaded.shape[-1] != self.embed_dims:
            return
        # Saved by this class; for other files the grid is a guess.
        square_hw = (round((loaded.shape[1] - self.num_extra_tokens) ** 0.5),) * 2
        guess_hw = self.grid_hw if loaded.shape == self.pos_embed.shape else square_hw
        source_hw = tuple(metadata.get("grid_hw") or guess_hw)
        if source_hw[0] * source_hw[1] + self.num_extra_tokens != loaded.shape[1]:
            raise ValueError(
                f"{name} of the checkpoint must have the tokens of a square grid and a class token, got "
                f"{loaded.shape[1]} tokens. Build LVViT with the img_size of its training, not {self.grid_hw} tokens."
            )
        if source_hw != self.grid_hw:
            print_log(f"Resize {name} from a {source_hw} to a {self.grid_hw} grid", logger="current")
            state_dict[name] = self._pos_embed_for(loaded, source_hw, self.grid_hw)

    def _report_loaded(self, state_dict: dict, prefix: str, *args: object) -> None:
        """Log which weights a checkpoint provides, and fit the first layer; refuse weights that are not finite."""
        first = "conv1" if self.patch_embed.with_stem else "proj"
        name = f"{prefix}patch_embed.{first}.weight"
        fit_input_weights(state_dict, name, self.in_channels, self.input_weights)
        check_finite(state_dict, prefix)
        if report := report_loaded(self.state_dict(), state_dict, prefix):
            print_log(f"LVViT: {report}", logger="current")

    def _pos_embed_for(self, pos_embed: Tensor, source_hw: tuple, target_hw: tuple) -> Tensor:
        return resize_pos_embed(pos_embed, source_hw, target_hw, "bicubic", self.num_extra_tokens)

    def _freeze(self) -> None:
        """Freeze the stages asked for and all that no output depends on, for which DDP would wait in vain."""
        norm = [self.norm] * (self.norm is not None)
        frozen = list(self.blocks[max(self.out_indices) + 1 :])
        if frozen or self.frozen_stages == self.num_layers:
            frozen += norm
        if self.frozen_stages >= 0:
            self.cls_token.requires_grad_(False)
            self.pos_embed.requires_grad_(False)
            frozen += [self.patch_embed, *self.blocks[: self.frozen_stages]]
        for module in frozen:
            module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "LVViT":
        """Switch between training and evaluation; frozen parts stay in evaluation mode."""
        super().train(mode)
        if mode:
            self._freeze()
            for module in self.modules() if self.norm_eval else ():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def embed(self, images: Tensor, token_mix: TokenMix | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Turn images [B, I, H, W] into the tokens [B, 1 + N, C] that enter the first block, and their grid (h, w).

        MixToken's draw is applied between patch and position embedding.
        """
        grid_hw = self._grid_hw(tuple(images.shape[-2:]))
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2)  # [B, N, C]
        if token_mix is not None:
            tokens = mix_tokens(tokens, *token_mix)
        tokens = torch.cat((self.cls_token.expand(tokens.shape[0], -1, -1).to(tokens.dtype), tokens), dim=1)
        return tokens + self._pos_embed_for(self.pos_embed, self.grid_hw, grid_hw), grid_hw

    def forward(self, images: Tensor, token_mix: TokenMix | None = None) -> tuple[Tensor, ...]:
        """Run the backbone.

        Args:
            images: [B, in_channels, H, W], H and W multiples of the patch size.
            token_mix: MixToken's draw for this batch, None for no mixing.

        Returns:
            tuple: one tensor per entry of ``out_indices`` in ascending order, in the form of ``out_type``.
        """
        tokens, grid_hw = self.embed(images, token_mix)
        outputs = []
        for index, block in enumerate(self.blocks[: max(self.out_indices) + 1]):
            recomputed = self.with_cp and self.training
            tokens = checkpoint(block, tokens, use_reentrant=False) if recomputed else block(tokens)
            if index == self.num_layers - 1 and self.norm is not None:
                tokens = self.norm(tokens)
            if index in self.out_indices:
                outputs.append(self._format(tokens, grid_hw))
        return tuple(outputs)

    def _format(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        if self.out_type == "raw":
            return tokens
        if self.out_type == "cls_token":
            return tokens[:, 0]
        return tokens[:, self.num_extra_tokens :].transpose(1, 2).unflatten(2, grid_hw)  # [B, C, h, w]

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """Return the depth of a parameter for layer-wise learning-rate decay, and the number of depths.

        The depth is 0 for the embeddings, i + 1 for block i, and the last for all that follows. ``prefix`` is the
        backbone's own in the full ``param_name``, such as 'backbone.'.
        """
        num_depths = self.num_layers + 2
        name = param_name.removeprefix(prefix)
        if not param_name.startswith(prefix) or name.startswith("norm."):
            return num_depths - 1, num_depths
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1, num_depths
        return 0, num_depths


def _note_grid(backbone: LVViT, state_dict: dict, prefix: str, metadata: dict) -> None:
    """Save the token grid with the weights' version: the number of tokens does not determine it."""
    metadata["grid_hw"] = backbone.grid_hw
