"""One LV-ViT training step from score maps to gradients: mmtl's compared with a plain implementation.

python benchmarks/train_step.py               # CPU, float32, 2 threads, the recipe's 128 images: minutes
python benchmarks/train_step.py --batch 8     # seconds; docs/benchmarks.md reports the effect of the batch
python benchmarks/train_step.py --device cuda --dtype bfloat16 --compile

The plain way is the step as the paper's formulas read: attention written out (softmax(q k^T / sqrt(d)) v), patches
projected by a convolution, residual branches divided and zeroed by drop path, tokens mixed and output tokens sorted
back by cut and paste, dense targets (a [B, K, h, w] map, RoIAlign, a softmax over K classes) times the log-softmax of
the logits. Both ways share weights, images, score maps and the mixed box, and take turns in one process. Memory is the
peak of what a step allocates. ``--clock cpu --threads 1`` counts processor time, for a machine with other load.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from measure import CLOCKS, alternate, make_parser, peak_mib
from mmpretrain.structures import DataSample
from token_targets import dense_loss, dense_targets, make_maps, sparse_targets
from torch import Tensor, nn

from mmtl.models.batch_augments.mix_token import TokenMix, box_mask
from mmtl.models.lvvit.arch import ARCHS
from mmtl.models.lvvit.backbone import PatchEmbed
from mmtl.models.lvvit.block import Attention, Block
from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.models.token_labels.targets import TokenTargets
from mmtl.registry import MODELS

NUM_CLASSES, SMOOTHING = 1000, 0.1
GRID, BOX = (14, 14), (3, 2, 12, 11)  # token grid; MixToken's box (row0, column0, row1, column1)


class PlainAttention(Attention):
    """The same weights, the attention matrix written out."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, C] to [B, N, C]."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
        return self.proj((weights @ value).transpose(1, 2).flatten(2))


class PlainBlock(Block):
    """The same weights, each residual branch divided, and computed for all images."""

    def _residual(self, x: Tensor, norm: nn.Module, branch: nn.Module) -> Tensor:
        branched = branch(norm(x))
        if self.training:
            kept = torch.rand(len(x), 1, 1, device=x.device) >= self.drop_path_rate
            branched = branched / (1 - self.drop_path_rate) * kept
        return x + branched / (1 / self.residual_scale)


class PlainPatchEmbed(PatchEmbed):
    """The same weights, patches projected by the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, 3, H, W] to [B, C, h, w]."""
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)), inplace=True)
        return self.proj(x)


PLAIN = {Attention: PlainAttention, Block: PlainBlock, PatchEmbed: PlainPatchEmbed}


def build_model(arch: str, plain: bool) -> nn.Module:
    """Build LV-ViT with its head, in training mode."""
    drop_path_rate = {"medium": 0.2, "large": 0.3}.get(arch, 0.1)
    channels = ARCHS[arch]["embed_dims"]
    model = MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=dict(type="mmtl.LVViT", arch=arch, drop_path_rate=drop_path_rate),
            head=dict(type="mmtl.TokenLabelHead", num_classes=NUM_CLASSES, in_channels=channels),
        )
    )
    for module in model.modules():
        if plain and type(module) in PLAIN:
            module.__class__ = PLAIN[type(module)]
    return model.train()


def ours(model: nn.Module, images: Tensor, labels: Tensor, maps: dict[str, Tensor]) -> Tensor:
    """Compute the loss with sparse targets, in closed form, with fused attention."""
    device = images.device
    patches = sparse_targets(maps, GRID[0], NUM_CLASSES, device, SMOOTHING)
    label = TokenTargets.from_labels(labels, NUM_CLASSES, smoothing=SMOOTHING)
    flip = torch.arange(len(labels) - 1, -1, -1, device=device)
    mix = TokenMix(box_mask(GRID, BOX).to(device), flip)
    targets = BatchTargets(label, patches, GRID).mix_tokens(*mix)
    losses = model(images, [DataSample()] * len(flip), mode="loss", targets=targets, token_mix=mix)
    return losses["loss_cls"] + losses["loss_token"]


def plain(model: nn.Module, images: Tensor, labels: Tensor, maps: dict[str, Tensor]) -> Tensor:
    """Compute the loss with dense targets, soft cross-entropy over all classes, attention written out."""
    targets = smoothed(dense_targets(maps, GRID[0], NUM_CLASSES, images.device))
    tokens = plain_tokens(model.backbone, images)
    logits = pasted(model.head.token_fc(tokens[:, 1:]).float().unflatten(1, GRID)).flatten(1, 2)
    loss_token = dense_loss(logits, targets)
    label = F.one_hot(labels, NUM_CLASSES) * (1 - SMOOTHING) + SMOOTHING / NUM_CLASSES
    share = (BOX[2] - BOX[0]) * (BOX[3] - BOX[1]) / (GRID[0] * GRID[1])
    label = label * (1 - share) + label.flip(0) * share
    return dense_loss(model.head.fc(tokens[:, 0]).float(), label) + 0.5 * loss_token


def pasted(grid: Tensor) -> Tensor:
    """Take the box of [B, 14, 14, C] from image B-1-b; its own inverse."""
    rows, columns = slice(BOX[0], BOX[2]), slice(BOX[1], BOX[3])
    mixed = grid.clone()
    mixed[:, rows, columns] = grid.flip(0)[:, rows, columns]
    return mixed


def plain_tokens(backbone: nn.Module, images: Tensor) -> Tensor:
    """Compute the tokens [B, 1 + N, C] of images mixed by cut and paste."""
    patches = pasted(backbone.patch_embed(images).permute(0, 2, 3, 1)).flatten(1, 2)
    tokens = torch.cat([backbone.cls_token.expand(len(images), -1, -1), patches], dim=1) + backbone.pos_embed
    for block in backbone.blocks:
        tokens = block(tokens)
    return backbone.norm(tokens)


def smoothed(targets: Tensor) -> Tensor:
    """Smooth labels of score maps as the released code does."""
    return targets * (1 - SMOOTHING + SMOOTHING / NUM_CLASSES) + SMOOTHING / NUM_CLASSES


def step(loss_of: Callable, model: nn.Module, batch: tuple, args: argparse.Namespace) -> float:
    """Run forward and backward pass and return the loss."""
    model.zero_grad(set_to_none=True)
    with torch.autocast(args.device, getattr(torch, args.dtype), enabled=args.dtype != "float32"):
        loss = loss_of(model, *batch)
    loss.backward()
    return loss.item()


def make_steps(args: argparse.Namespace) -> dict[str, Callable[[], float]]:
    """Return a step of both ways, with the same weights and batch."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(args.batch, 3, 224, 224, generator=generator).to(args.device)
    labels = torch.randint(NUM_CLASSES, (args.batch,), generator=generator).to(args.device)
    batch = images, labels, make_maps(args.batch, NUM_CLASSES)  # the maps on the CPU, as a data loader returns them
    plain_model, model = (build_model(args.arch, plain=plain).to(args.device) for plain in (True, False))
    model.load_state_dict(plain_model.state_dict())
    if args.compile:
        model.compile_training()
    plain_loss = torch.compile(plain) if args.compile else plain
    return {
        "plain": partial(step, plain_loss, plain_model, batch, args),
        "ours": partial(step, ours, model, batch, args),
    }


def main() -> None:
    """Measure both ways and print the table."""
    parser = make_parser(__doc__, arch="small", batch=128, rounds=7, threads=2, dtype="float32", clock="wall")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    runs, losses = make_steps(args), {}
    for name, run in runs.items():  # also the warm-up
        torch.manual_seed(0)  # drop path drops the same images
        losses[name] = run()
    memory = {name: peak_mib(run, args.device) for name, run in runs.items()}
    median = alternate(runs, args.rounds, args.device, CLOCKS[args.clock], warm_up=False)
    print(f"LV-ViT {args.arch}, 224 x 224, batch {args.batch}, {args.dtype}, {args.device}, {args.threads} threads,")
    print(f"{args.clock} time, compile {args.compile}, {args.rounds} rounds, torch {torch.__version__}")
    print("| way | step, ms | images/s | peak MiB | loss |\n|---|---|---|---|---|")
    for name in runs:
        rate = args.batch / median[name]
        print(f"| {name} | {1e3 * median[name]:.1f} | {rate:.1f} | {memory[name]:.0f} | {losses[name]:.4f} |")
    ratios = median["ours"] / median["plain"], memory["ours"] / memory["plain"]
    print(f"| ratio | {ratios[0]:.3f} | {1 / ratios[0]:.3f} | {ratios[1]:.3f} | |")


if __name__ == "__main__":
    main()
