"""Any timm model as backbone: tokens for token labeling, feature maps for segmentation."""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.utils import to_2tuple
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from mmtl.models.batch_augments.mix_token import TokenMix
from mmtl.models.other_backbones import mixed_after_patch_embedding
from mmtl.models.timm_create import create_timm_model
from mmtl.models.timm_features import patch_map
from mmtl.models.timm_weights import fit_timm_weights
from mmtl.registry import MODELS
from mmtl.utils.checkpoint import pretrained_init_cfg

# Options that let timm's transformers take images of other sizes; passed to the models that have them.
ANY_SIZE = dict(dynamic_img_size=True, strict_img_size=False)
PATCH_STRIDE = 4  # of a first convolution that makes patches


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A timm model without its classifier, refined from mmpretrain's TIMMBackbone.

    Token grid, stride, prefix tokens, pooling and patch embedding are found by a forward pass on the meta device,
    which computes nothing. Parameters that no output depends on are frozen, as data-parallel training would wait for
    their gradients.

    Args:
        model_name: timm's name, with or without the tag of its weights.
        pretrained: whether timm downloads the weights of that tag. A path is short for ``checkpoint``.
        checkpoint: weights of a complete model of this project, of a backbone, or of timm; read safely.
        in_channels: channels of the images.
        img_size: pixels (side, or H and W), for models that have an image size; None means the model's own.
        out_type: 'raw' gives [B, 1 + N, C], what the model's head pools (class token, mean, attention pooling) and
            then the patch tokens, each after the head's layers before its classifier. 'featmap' gives [B, C, h, w]
            for each of ``out_indices``.
        out_indices: blocks or stages whose maps are returned by 'featmap', negative ones count from the end. None
            means four blocks at equal distances, or for a hierarchical model the last map of each stride from 4.
        drop_path_rate: passed to models that have it; None means the model's own, which is above 0 for some.
        with_cp: whether blocks are recomputed in the backward pass to save memory.
        init_cfg: weight initialization, see mmengine; None keeps timm's.
        kwargs: further options of the timm model.

    Attributes:
        feature_channels: channels of each output.
        feature_strides: pixels of the image per cell of each output.
        token_stride: the last of them.
        has_fixed_size: whether timm refuses images of other sizes than ``img_size``.
        why_no_patches: why there is no ``patch_embed``, or None.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: bool | str = False,
        checkpoint: str | None = None,
        in_channels: int = 3,
        img_size: int | Sequence[int] | None = None,
        out_type: str = "raw",
        out_indices: int | Sequence[int] | None = None,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(pretrained, str):
            pretrained, checkpoint = False, pretrained
        super().__init__(pretrained_init_cfg(init_cfg, checkpoint))
        if out_type not in ("raw", "featmap"):
            raise ValueError(f"out_type must be 'raw' or 'featmap', got {out_type!r}.")
        optional = dict(ANY_SIZE, img_size=img_size and to_2tuple(img_size))
        if drop_path_rate is not None:
            optional["drop_path_rate"] = drop_path_rate
        options = dict(kwargs, pretrained=pretrained, in_chans=in_channels)
        self.model_name, self.out_type, self.in_channels = model_name, out_type, in_channels
        self.timm_model = create_timm_model(model_name, optional, options)
        self.timm_model.is_init = True  # timm initializes; mmengine would do it again, after loading as well
        if with_cp:
            self.timm_model.set_grad_checkpointing(True)
        self.img_size = to_2tuple(img_size or self.timm_model.pretrained_cfg["input_size"][1:])
        self.has_fixed_size = getattr(getattr(self.timm_model, "patch_embed", None), "strict_img_size", False)
        if out_type == "featmap":
            self.out_indices = self._resolved_indices(out_indices)
        self._probe(in_channels)
        self._register_load_state_dict_pre_hook(self._fit_loaded_weights)

    def _resolved_indices(self, out_indices: int | Sequence[int] | None) -> list[int]:
        strides = [info["reduction"] for info in self.timm_model.feature_info]
        total = len(strides)
        if out_indices is None:
            if len(set(strides)) == 1:
                return sorted({(i + 1) * total // 4 - 1 for i in range(4)} - {-1})
            return sorted({stride: i for i, stride in enumerate(strides) if stride >= PATCH_STRIDE}.values())
        indices = [out_indices] if isinstance(out_indices, int) else list(out_indices)
        if not indices or not set(indices) <= set(range(-total, total)):
            raise ValueError(f"out_indices of {self.model_name} must be from 0 to {total - 1}, got {out_indices}.")
        return sorted({index % total for index in indices})

    def _probe(self, in_channels: int) -> None:
        """Note the outputs of the first way to compute them that gives a grid."""
        is_raw = self.out_type == "raw"
        errors: list[Exception] = []
        # The second way is for PiT, whose patches are in its maps, and for the maps of Hiera, which have no norm.
        for self._norm, self._patches_from_map in ((True, False), (is_raw, is_raw)):
            try:
                return self._note_outputs(in_channels)
            except (RuntimeError, AssertionError, ValueError) as error:
                errors.append(error)
        error = errors[0 if is_raw else -1]
        if isinstance(error, NoGridError):
            raise error from None
        own_size = tuple(self.timm_model.pretrained_cfg["input_size"][1:])
        raise ValueError(
            f"{self.model_name} does not take images of {self.img_size} pixels (H, W): "
            f"{str(error).strip() or type(error).__name__}. Set img_size, for example its own {own_size}."
        ) from None

    def _note_outputs(self, in_channels: int) -> None:
        """Run the model without computing, and note what its outputs and first module are.

        Two images, as BatchNorm in training may see a single cell of each. On the meta device recurrent layers take
        minutes.
        """
        recurrent = any(isinstance(module, nn.RNNBase) for module in self.modules())
        device = torch.device("cpu" if recurrent else "meta")
        copies: dict[int, object] = {id(buffer): buffer.detach().to(device, copy=True) for buffer in self.buffers()}
        for parameter in self.parameters():
            value = parameter.detach().to(device, copy=True)
            copies[id(parameter)] = nn.Parameter(value, requires_grad=parameter.requires_grad)
        probe = copy.deepcopy(self, copies)
        images = torch.empty(2, in_channels, *self.img_size, device=device)
        with _first_module(probe.timm_model) as first:
            outputs = probe(images)
        torch.cat([output.flatten() for output in outputs]).sum().backward()
        for parameter, copied in zip(self.parameters(), probe.parameters(), strict=True):
            parameter.requires_grad_(copied.grad is not None)
        is_map = self.out_type == "featmap"
        self.feature_channels = [output.shape[1 if is_map else 2] for output in outputs]
        cells = [math.prod(output.shape[2:]) if is_map else output.shape[1] - 1 for output in outputs]
        self.feature_strides = [math.isqrt(math.prod(self.img_size) // count) for count in cells]
        self.token_stride = stride = self.feature_strides[-1]
        if not is_map and (
            stride**2 * cells[-1] != math.prod(self.img_size) or any(x % stride for x in self.img_size)
        ):
            raise self._no_grid(f"its {cells[-1]} tokens do not divide images of {self.img_size} pixels (H, W)")
        probe.patch_embed_name = first[0]
        self.why_no_patches = _why_no_patches(first[0], probe.patch_embed)
        if not is_map and not self.why_no_patches:
            self.why_no_patches = _why_not_mixed(probe, images, cells[-1])
        self.patch_embed_name = None if self.why_no_patches else first[0]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images [B, 3, H, W] in the form of ``out_type``."""
        if self.out_type == "raw":
            return (self._tokens(images),)
        options = dict(norm=self._norm, stop_early=True, output_fmt="NCHW", intermediates_only=True)
        return tuple(self.timm_model.forward_intermediates(images, indices=self.out_indices, **options))

    def _tokens(self, images: Tensor) -> Tensor:
        """Return the pooled feature and the patch tokens [B, 1 + N, C]."""
        model = self.timm_model
        if self._patches_from_map:
            features, maps = model.forward_intermediates(images, indices=1, norm=True, output_fmt="NCHW")
        else:
            maps = features = model.forward_features(images)
        pooled = model.forward_head(features, pre_logits=True)
        # Of several maps (CoaT), the coarsest.
        last = maps[-1] if isinstance(maps, list | tuple) else maps
        try:
            cells, one_patch = patch_map(model, last, tuple(images.shape[-2:]), getattr(self, "token_stride", None))
        except ValueError as error:
            raise self._no_grid(str(error)) from None
        patches = cells.flatten(1, 2)
        # Attention over one token is another computation, and some heads take only a list of maps.
        if getattr(model, "attn_pool", None) is None and last is features:
            cells = model.forward_head(one_patch(patches.flatten(0, 1)), pre_logits=True)
            patches = cells.unflatten(0, patches.shape[:2])
        if pooled.shape[-1] != patches.shape[-1]:
            sizes = f"{patches.shape[-1]} channels in the patch tokens and {pooled.shape[-1]} in the pooled feature"
            raise self._no_grid(f"it has {sizes}")
        return torch.cat((pooled.unsqueeze(1), patches), dim=1)

    def _no_grid(self, reason: str) -> "NoGridError":
        return NoGridError(
            f"The features of {self.model_name} must be a grid of square patches, but {reason}. "
            "Choose another model or img_size."
        )

    @property
    def patch_embed(self) -> nn.Module | None:
        """Module whose output MixToken mixes, None for a convolutional stem."""
        return self.timm_model.get_submodule(self.patch_embed_name) if self.patch_embed_name else None

    @cached_property
    def _depths(self) -> dict[str, int]:
        from timm.models import group_parameters

        return group_parameters(self.timm_model, self.timm_model.group_matcher(coarse=False), reverse=True)

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """Return the depth of a parameter for layer-wise learning-rate decay as timm counts it, and their number.

        ``prefix`` is the backbone's own in the full ``param_name``, such as 'backbone.'.
        """
        num_depths = max(self._depths.values()) + 2  # with those of neck and head
        return self._depths.get(param_name.removeprefix(f"{prefix}timm_model."), num_depths - 1), num_depths

    def _fit_loaded_weights(self, state_dict: dict, prefix: str, *args: object) -> None:
        fit_timm_weights(self.timm_model, state_dict, prefix, self.model_name)


class NoGridError(ValueError):
    """The features of a model are not a grid of square patches."""


@contextmanager
def _first_module(model: nn.Module) -> Iterator[list[str]]:
    """Yield a list that gets the name of the first module inside a model that runs within this context."""
    first: list[str] = []
    names = {module: name for name, module in model.named_modules() if name}
    handle = register_module_forward_pre_hook(
        lambda module, args: first.append(names[module]) if module in names and not first else None
    )
    try:
        yield first
    finally:
        handle.remove()


def _why_no_patches(name: str, first: nn.Module) -> str | None:
    """Return why the first module is the stem of a CNN, or None for a patch embedding.

    It embeds patches if timm names it so, or if its first convolution makes patches: no layer has a finer stride.
    """
    if "embed" in f"{name} {type(first).__name__}".lower():
        return None
    convolution = next((module for module in first.modules() if isinstance(module, nn.Conv2d)), None)
    if convolution is None:
        return f"its first module {name} has no convolution"
    stride = min(convolution.stride)
    return None if stride >= PATCH_STRIDE else f"its first module {name} starts with a convolution of stride {stride}"


@torch.no_grad()
def _why_not_mixed(backbone: TimmBackbone, images: Tensor, num_tokens: int) -> str | None:
    """Return why the patches of a backbone do not make up complete tokens, as in PiT without padding, or None."""
    mask = torch.ones(num_tokens, dtype=torch.bool, device=images.device)
    try:
        with mixed_after_patch_embedding(backbone, TokenMix(mask, torch.arange(len(images), device=images.device))):
            backbone(images)
    except ValueError as error:
        return str(error).partition(".")[0]
    return None
