"""Check one small model of each timm family as a student of token labeling, and write docs/other_backbones.md's table.

    python benchmarks/timm_students.py [FAMILY ...] [--write docs/other_backbones.md]

Each model is built by `mmtl.TimmBackbone`, takes a training step with score maps and MixToken (CutMix where it has no
patch embedding), and goes through these checks:

- every trained parameter gets a gradient, as data-parallel training needs;
- the grid: if the pixels of one patch change, its token changes most;
- MixToken: with all tokens of the partner, the features are the partner's, so nothing after the patch embedding has
  seen the image; with half of them, a token is nearer to the image that its label comes from.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mmtl.models import TokenLabelClassifier
from mmtl.models.batch_augments import TokenMix
from mmtl.models.other_backbones import mixed_after_patch_embedding

NUM_CLASSES, BATCH = 5, 4
VIT = dict(depth=2, embed_dim=48, num_heads=3)
# timm's name, image side in pixels, options that make it small.
FAMILIES = {
    "ViT": ("vit_tiny_patch16_224", 96, VIT),
    "ViT, mean pooling": ("vit_base_patch16_rpn_224", 96, VIT),
    "ViT, conv stem": ("vit_tiny_r_s16_p8_224", 192, VIT),
    "ViT, relative positions": ("vit_relpos_small_patch16_224", 96, VIT),
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", 96, VIT),
    "DeiT III": ("deit3_small_patch16_224", 96, VIT),
    "DINOv2, registers": ("vit_small_patch14_reg4_dinov2", 84, VIT),
    "SigLIP": ("vit_base_patch16_siglip_224", 96, VIT),
    "FlexiViT": ("flexivit_small", 96, VIT),
    "NaFlexViT": ("naflexvit_base_patch16_gap", 96, dict(VIT)),
    "SAM's ViT": ("samvit_base_patch16", 96, dict(VIT, window_size=2, global_attn_indexes=(1,))),
    "BEiT": ("beit_base_patch16_224", 96, VIT),
    "EVA-02": ("eva02_tiny_patch14_224", 84, VIT),
    "CaiT": ("cait_xxs24_224", 96, dict(VIT, init_values=1e-2)),
    "XCiT": ("xcit_nano_12_p16_224", 96, VIT),
    "ConViT": ("convit_tiny", 96, dict(depth=2)),
    "TNT": ("tnt_s_legacy_patch16_224", 96, dict(depth=2)),
    "VOLO": ("volo_d1_224", 96),
    "PiT": ("pit_ti_224", 192),
    "Swin": ("swin_tiny_patch4_window7_224", 192, dict(depths=(1, 1, 1, 1), embed_dim=24, window_size=2)),
    "Swin V2": ("swinv2_tiny_window8_256", 192, dict(depths=(1, 1, 1, 1), embed_dim=24, window_size=2)),
    "Swin V2 CR": ("swinv2_cr_tiny_224", 192, dict(depths=(1, 1, 1, 1), embed_dim=24)),
    "PVT v2": ("pvt_v2_b0", 192, dict(depths=(1, 1, 1, 1))),
    "Twins": ("twins_svt_small", 192, dict(depths=(1, 1, 1, 1), wss=(2, 2, 2, 2))),
    "CoaT-Lite": ("coat_lite_tiny", 192, dict(serial_depths=(1, 1, 1, 1))),
    "CoaT": ("coat_tiny", 192, dict(serial_depths=(1, 1, 1, 1), parallel_depth=1)),
    "MViTv2": ("mvitv2_tiny", 192),
    "Hiera": ("hiera_tiny_224", 192, dict(stages=(1, 1, 1, 1), embed_dim=24)),
    "DaViT": ("davit_tiny", 192, dict(depths=(1, 1, 1, 1), window_size=2)),
    "FocalNet": ("focalnet_tiny_srf", 192),
    "Nest": ("nest_tiny", 96),
    "GC ViT": ("gcvit_xxtiny", 192),
    "MLP-Mixer": ("mixer_s32_224", 192),
    "gMLP": ("gmlp_s16_224", 96),
    "ResMLP": ("resmlp_12_224", 96),
    "Sequencer": ("sequencer2d_s", 84, dict(layers=(1, 1, 1, 1), embed_dims=(24, 48, 48, 48))),
    "PoolFormer": ("poolformer_s12", 192),
    "CAFormer": ("caformer_s18", 192),
    "ConvNeXt": ("convnext_atto", 192, dict(depths=(1, 1, 1, 1))),
    "InceptionNeXt": ("inception_next_atto", 192, dict(depths=(1, 1, 1, 1))),
    "EdgeNeXt": ("edgenext_xx_small", 192),
    "ConvMixer": ("convmixer_768_32", 42),
    "TinyViT": ("tiny_vit_5m_224", 192, dict(depths=(1, 1, 1, 1))),
    "MaxViT": ("maxvit_rmlp_pico_rw_256", 192, dict(depths=(1, 1, 1, 1))),
    "CoAtNet": ("coatnet_nano_rw_224", 192, dict(depths=(1, 1, 1, 1))),
    "LeViT": ("levit_128s", 384),
    "EfficientFormer V2": ("efficientformerv2_s0", 192),
    "EfficientViT": ("efficientvit_b0", 192),
    "MobileViT": ("mobilevit_xxs", 192),
    "MobileNetV3": ("mobilenetv3_small_050", 192),
    "MambaOut": ("mambaout_femto", 192, dict(depths=(1, 1, 1, 1))),
    "EfficientNet": ("efficientnet_b0", 192),
    "RegNet": ("regnety_002", 192),
    "ResNet": ("resnet18", 192),
    "NFNet": ("nfnet_l0", 192),
    "DenseNet": ("densenet121", 192),
}


def build(model_name: str, side: int, options: dict | None = None) -> TokenLabelClassifier:
    """Build a classifier with MixToken, or CutMix where there is no patch embedding."""
    torch.manual_seed(0)
    augment = dict(type="mmtl.MixToken", fallback=dict(type="mmtl.CutMix"))
    return MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=dict(type="mmtl.TimmBackbone", model_name=model_name, img_size=side, **(options or {})),
            head=dict(type="mmtl.TokenLabelHead", num_classes=NUM_CLASSES),
            data_preprocessor=dict(mean=[127.5] * 3, std=[60] * 3, batch_augments=dict(augments=[augment])),
        )
    )


def train_one_step(model: TokenLabelClassifier, side: int) -> None:
    """Train on random images and score maps; check losses and gradients."""
    samples, generator = [], torch.Generator().manual_seed(1)
    for index in range(BATCH):
        sample = DataSample().set_gt_label(index % NUM_CLASSES)
        sample.set_field(torch.randn(4, 4, 2, generator=generator).half(), "score_map_scores")
        sample.set_field(torch.randint(NUM_CLASSES, (4, 4, 2), generator=generator).int(), "score_map_classes")
        sample.set_field(torch.eye(3)[:2], "view_affine")
        image = torch.randint(256, (3, side, side), generator=generator, dtype=torch.uint8)
        samples.append(dict(inputs=image, data_samples=sample))
    np.random.seed(1)
    model.train()
    prepared = model.data_preprocessor(pseudo_collate(samples), training=True)
    loss, logs = model.parse_losses(model(**prepared, mode="loss"))
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if without or not loss.isfinite() or "loss_token" not in logs:
        raise AssertionError(f"loss {loss}, parameters without gradient {without}")
    torch.optim.AdamW(model.parameters(), lr=1e-4).step()
    with torch.no_grad():
        if not all(p.isfinite().all() for p in model.parameters()):
            raise AssertionError("the step gave weights that are not finite")


@torch.no_grad()
def response(backbone: torch.nn.Module, side: int, draws: int = 2) -> torch.Tensor:
    """Return how much each token (column) changes if the pixels of each patch (row) change, [N, N]."""
    stride, generator = backbone.token_stride, torch.Generator().manual_seed(2)
    grid = side // stride
    total = torch.zeros(grid * grid, grid * grid)
    for _ in range(draws):
        image = torch.randn(1, 3, side, side, generator=generator)
        plain = backbone(image)[-1][:, 1:]
        for n in range(grid * grid):
            y, x = n // grid * stride, n % grid * stride
            changed = image.clone()
            changed[..., y : y + stride, x : x + stride] = torch.randn(1, 3, stride, stride, generator=generator)
            total[n] += (backbone(changed)[-1][:, 1:] - plain).norm(dim=-1)[0]
    return total


def aligned(response: torch.Tensor) -> tuple[float, float]:
    """Return the shares of tokens that respond most to their own patch, and to it or one of the 8 around it."""
    grid = math.isqrt(len(response))
    relative = response / response.mean(1, keepdim=True)  # to how much all tokens respond to a patch
    strongest, own = relative.argmax(0), torch.arange(len(response))
    rows, columns = (strongest // grid - own // grid).abs(), (strongest % grid - own % grid).abs()
    return (strongest == own).float().mean().item(), (torch.maximum(rows, columns) <= 1).float().mean().item()


@torch.no_grad()
def mixed_share(backbone: torch.nn.Module, side: int) -> float:
    """Return the share of mixed tokens that are nearer to the image of their label."""
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))
    count, partner = (side // backbone.token_stride) ** 2, torch.tensor([1, 0])
    plain = backbone(images)[-1]

    def mixed(mask: torch.Tensor) -> torch.Tensor:
        with mixed_after_patch_embedding(backbone, TokenMix(mask, partner)):
            return backbone(images)[-1]

    scale = plain.abs().max().item()
    torch.testing.assert_close(mixed(torch.ones(count, dtype=torch.bool)), plain, atol=1e-6 * scale, rtol=1e-5)
    flipped = mixed(torch.zeros(count, dtype=torch.bool))
    torch.testing.assert_close(flipped, plain.flip(0), atol=1e-6 * scale, rtol=1e-5)
    grid = math.isqrt(count)
    mask = (torch.arange(grid) < grid // 2).repeat(grid, 1).flatten()
    tokens = mixed(mask)[:, 1:]
    nearer = (tokens - plain[:, 1:]).norm(dim=-1) < (tokens - plain.flip(0)[:, 1:]).norm(dim=-1)
    return (nearer == mask).float().mean().item()


@torch.no_grad()
def narrow_kernels(backbone: torch.nn.Module) -> None:
    """Weaken the outer weights of convolutions, which at random make tokens of deep CNNs depend on all pixels alike.

    Which pixels a token is centered on does not depend on the weights.
    """
    for module in backbone.modules():
        if not isinstance(module, torch.nn.Conv2d) or module.kernel_size <= module.stride:
            continue
        sides = zip(module.weight.shape[2:], module.stride, strict=True)
        rows, columns = (torch.exp(-(((torch.arange(k) - (k - 1) / 2) / max(s / 2, 0.5)) ** 2)) for k, s in sides)
        module.weight *= rows[:, None] * columns


@torch.no_grad()
def set_batch_norm(backbone: torch.nn.Module, side: int) -> None:
    """Set the statistics of BatchNorm to those of random images: the initial ones are far off."""
    for module in backbone.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None
    backbone.train()(torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(4)))


def row(family: str) -> str:
    """Check a family and return its row of the table."""
    model_name, side, *options = FAMILIES[family]
    model = build(model_name, side, *options)
    backbone = model.backbone
    train_one_step(model, side)
    narrow_kernels(backbone)
    set_batch_norm(backbone, side)
    own, near = aligned(response(backbone.eval(), side))
    grid = side // backbone.token_stride
    if backbone.patch_embed is None:
        mixing, mixed = f"CutMix: {backbone.why_no_patches}", "-"
    else:
        mixing, mixed = f"MixToken after `{backbone.patch_embed_name}`", f"{mixed_share(backbone, side):.0%}"
    own_size = backbone.timm_model.pretrained_cfg["input_size"][1]
    return (
        f"| {family} | `{model_name}` ({own_size}) | {backbone.token_stride}, {grid} x {grid} at {side} | {mixing} "
        f"| {own:.0%} | {near:.0%} | {mixed} |"
    )


HEADER = """\
| family | model (its own size) | token stride, grid as checked | mixing | own patch | or adjacent | own image |
|---|---|---|---|---|---|---|"""
BEGIN, END = "<!-- table of benchmarks/timm_students.py -->", "<!-- end of the table -->"


def main() -> None:
    """Print the table, or write it into a page between its marks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help="default: all")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    rows = [HEADER]
    for family in args.families or FAMILIES:
        try:
            rows.append(row(family))
        except Exception as error:  # the other families are checked all the same
            rows.append(f"| {family} | failed: {type(error).__name__}: {str(error)[:300]} |")
        print(rows[-1], flush=True)
    if args.write:
        text = args.write.read_text()
        before, _, rest = text.partition(BEGIN)
        table = "\n".join(rows)
        args.write.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
