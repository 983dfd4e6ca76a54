"""VOLO, the outlook attention network that was published with token labels (arXiv 2106.13112)."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmpretrain.models.utils import to_2tuple
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmtl.models.input_weights import check_input_options, fit_input_weights
from mmtl.models.lvvit.loading import report_loaded
from mmtl.registry import MODELS
from mmtl.utils.checkpoint import check_finite, pretrained_init_cfg
from mmtl.utils.import_timm import import_timm

ARCH_KEYS = ("layers", "embed_dims", "num_heads", "mlp_ratio", "stem_hidden_dim")
ARCHS = ("d1", "d2", "d3", "d4", "d5")


@MODELS.register_module()
class VOLO(BaseModule):
    """VOLO backbone, built from timm's modules, which must be installed (``pip install timm``).

    Stage 1 has outlook attention on tokens of half the patch size, stage 2 three groups of transformer blocks on
    tokens of the patch size; two class attention blocks follow. The names of the weights are the released ones.

    MixToken mixes the tokens of stage 1, with the box drawn on the grid of stage 2: 28 x 28 and 14 x 14 tokens at 224
    pixels, as released. Class attention sees the mixed tokens.

    Args:
        arch: 'd1' to 'd5', or a dict with timm's names: layers and embed_dims and num_heads (one value per group of
            blocks), and optionally mlp_ratio and stem_hidden_dim.
        img_size: pixels (side, or H and W) of the position embedding, which is resized for other sizes.
        patch_size: pixels per output token: 8, 16 or 32.
        in_channels: channels of the images.
        input_weights: 'mean' or 'first', as in ``LVViT``.
        out_type: 'raw' gives [B, 1 + N, C] with the class token first, 'cls_token' [B, C], 'featmap' the maps
            [B, C, h, w] of ``out_indices`` without class attention.
        out_indices: groups of blocks whose maps 'featmap' returns: 0 is stage 1 (stride of half the patch size), 1 to
            3 are stage 2. Negative ones count from the end. Groups after the last of them are neither run nor trained.
        final_norm: whether the last group's output is normalized; only 'featmap' may omit it.
        drop_path_rate: probability of dropping a residual branch of the last transformer block. It grows linearly with
            depth; as released, outlook and class attention blocks drop nothing.
        with_cp: whether the blocks are recomputed in the backward pass to save memory.
        pretrained: checkpoint of a complete model or of a backbone, also a released one; short for an ``init_cfg``.
        init_cfg: weight initialization, see mmengine. None is the released one.

    Source: released code (sail-sg/volo) and timm, which have the same weights.
    """

    num_extra_tokens = 1  # the class token

    def __init__(
        self,
        arch: str | dict = "d1",
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        input_weights: str = "mean",
        out_type: str = "raw",
        out_indices: int | Sequence[int] = -1,
        final_norm: bool = True,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        pretrained: str | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(pretrained_init_cfg(init_cfg, pretrained))
        if out_type not in ("raw", "cls_token", "featmap"):
            raise ValueError(f"out_type must be 'raw', 'cls_token' or 'featmap', got {out_type!r}.")
        if patch_size not in (8, 16, 32):
            raise ValueError(f"patch_size of VOLO must be 8, 16 or 32, got {patch_size!r}.")
        check_input_options(in_channels, input_weights)
        self.patch_size, self.out_type, self.with_cp = patch_size, out_type, with_cp
        self.in_channels, self.input_weights = in_channels, input_weights
        self._grid_hw(to_2tuple(img_size))
        net = _timm_volo(
            arch,
            img_size=to_2tuple(img_size),
            patch_size=patch_size // 2,  # of stage 1
            in_chans=in_channels,
            drop_path_rate=drop_path_rate,
            num_classes=0,
        )
        self.embed_dims, self.layers = net.num_features, [len(net.network[end]) for end in net.stage_ends]
        self.out_indices = self._resolved(out_indices)
        self.feature_channels = [net.feature_info[index]["num_chs"] for index in self.out_indices]
        has_class_token = out_type != "featmap"
        if has_class_token and (self.out_indices != [len(self.layers) - 1] or not final_norm):
            raise ValueError(f"out_indices and final_norm of VOLO are for out_type='featmap', not for {out_type!r}.")
        self.patch_embed, self.network = net.patch_embed, net.network
        self.pos_embed = net.pos_embed  # [1, h, w, C]
        self.cls_token, self.post_network = (net.cls_token, net.post_network) if has_class_token else (None, None)
        self.norm = net.norm if final_norm else None
        self._freeze()
        self._register_load_state_dict_pre_hook(self._prepare_loaded)

    def _resolved(self, out_indices: int | Sequence[int]) -> list[int]:
        """Return the requested groups, counted from the first."""
        total, given = len(self.layers), [out_indices] if isinstance(out_indices, int) else list(out_indices)
        resolved = [index % total for index in given]
        if not given or not set(given) <= set(range(-total, total)) or len(set(resolved)) < len(resolved):
            raise ValueError(f"out_indices must name some of the groups 0 to {total - 1}, each once, got {given}.")
        return resolved

    def _freeze(self) -> None:
        """Freeze all that no output depends on, for which DDP would wait in vain."""
        last = max(self.out_indices)
        unused = list(self.network[last + 1 + bool(last) :])
        if self.norm is not None and last < len(self.layers) - 1:
            unused.append(self.norm)
        for module in unused:
            module.requires_grad_(False)
        self.pos_embed.requires_grad_(last > 0)

    def _grid_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the token grid of stage 2 for an image, which must be made of complete patches."""
        if any(side < 1 or side % self.patch_size for side in image_hw):
            raise ValueError(
                f"Image sides of VOLO must be multiples of the patch size {self.patch_size}, got {tuple(image_hw)} "
                "(H, W). Resize or pad the image."
            )
        return image_hw[0] // self.patch_size, image_hw[1] // self.patch_size

    def _prepare_loaded(self, state_dict: dict, prefix: str, *args: object) -> None:
        """Resize the position embedding of a checkpoint, report its weights, and refuse another architecture's."""
        name, grid_hw = f"{prefix}pos_embed", tuple(self.pos_embed.shape[1:3])
        loaded = state_dict.get(name)
        if loaded is not None and loaded.ndim == 4 and tuple(loaded.shape[1:3]) != grid_hw:
            print_log(f"Resize {name} from a {tuple(loaded.shape[1:3])} to a {grid_hw} grid", logger="current")
            state_dict[name] = _resized(loaded, grid_hw)
        fit_input_weights(state_dict, f"{prefix}patch_embed.conv.0.weight", self.in_channels, self.input_weights)
        check_finite(state_dict, prefix)
        if report := report_loaded(self.state_dict(), state_dict, prefix, model="VOLO", blocks="network."):
            print_log(f"VOLO: {report}", logger="current")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the backbone.

        Args:
            images: [B, in_channels, H, W], H and W multiples of the patch size.

        Returns:
            tuple: one tensor in the form of ``out_type``; with 'featmap' one per entry of ``out_indices``, ascending.
        """
        grid_hw = self._grid_hw(tuple(images.shape[-2:]))
        x, maps = (
            self.patch_embed(images).permute(0, 2, 3, 1),
            [],
        )  # [B, 2h, 2w, C]; MixToken hooks the patch embedding
        for group in range(max(self.out_indices) + 1):
            if group == 1:
                x = self.network[1](x) + _resized(self.pos_embed, grid_hw)  # [B, h, w, C] from here on
            x = self._run(self.network[group + bool(group)], x)
            if self.out_type == "featmap" and self.norm is not None and group == len(self.layers) - 1:
                x = self.norm(x)
            if group in self.out_indices:
                maps.append(x.permute(0, 3, 1, 2))
        if self.out_type == "featmap":
            return tuple(maps)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1).to(x.dtype), x.flatten(1, 2)), dim=1)
        x = self.norm(self._run(self.post_network, x))
        return (x if self.out_type == "raw" else x[:, 0],)

    def _run(self, blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
        for block in blocks:
            recomputed = self.with_cp and self.training
            x = checkpoint(block, x, use_reentrant=False) if recomputed else block(x)
        return x

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """Return the depth of a parameter for layer-wise learning-rate decay, and the number of depths.

        The depth is 0 for the patch embedding, i + 1 for block i of all groups, and the last for all that follows.
        Downsampling and position embedding belong to the block after them. ``prefix`` is as in ``LVViT``.
        """
        num_depths = sum(self.layers) + 2
        name = param_name.removeprefix(prefix)
        if not param_name.startswith(prefix):
            return num_depths - 1, num_depths
        if name.startswith("patch_embed."):
            return 0, num_depths
        if name == "pos_embed" or name.startswith("network.1."):
            return self.layers[0] + 1, num_depths
        if name.startswith("network."):
            part, block = (int(number) for number in name.split(".")[1:3])
            return sum(self.layers[: max(part - 1, 0)]) + block + 1, num_depths
        return num_depths - 1, num_depths


def _timm_volo(arch: str | dict, **options: object) -> nn.Module:
    """Build timm's VOLO of a name or of the user's own settings."""
    timm = import_timm("VOLO")
    if isinstance(arch, dict):
        if unknown := sorted(set(arch) - set(ARCH_KEYS)):
            raise ValueError(f"arch of VOLO must have only the keys {', '.join(ARCH_KEYS)}, got {unknown}.")
        return timm.models.volo.VOLO(**arch, **options)
    if arch not in ARCHS:
        raise ValueError(f"arch of VOLO must be one of {', '.join(map(repr, ARCHS))} or a dict, got {arch!r}.")
    return timm.create_model(f"volo_{arch}_224", **options)


def _resized(pos_embed: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Resize a position embedding [1, h, w, C] to another grid; bicubic, as the released loading does."""
    if tuple(pos_embed.shape[1:3]) == tuple(grid_hw):
        return pos_embed
    return F.interpolate(pos_embed.permute(0, 3, 1, 2), size=grid_hw, mode="bicubic").permute(0, 2, 3, 1)
