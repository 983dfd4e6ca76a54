"""One LV-ViT training step from score maps to gradients: mmtl's way against the plain way, side by side.

python benchmarks/train_step.py                                                   # CPU, float32, 2 threads
python benchmarks/train_step.py --device cuda --dtype bfloat16 --batch 128 --compile

The plain way writes the attention out (softmax(q k^T / sqrt(d)) v) and makes dense targets: a [B, K, h, w] map,
RoIAlign, a softmax over K classes, a product with the log-softmax of the logits. Both ways share weights, images
and score maps, and take turns in one process. Memory is the peak of what the step itself allocates.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from torch import Tensor
from torchvision.ops import roi_align

from mmtl.models.batch_targets import BatchTargets
from mmtl.models.lvvit_block import Attention
from mmtl.models.token_targets import TokenTargets, token_targets
from mmtl.registry import MODELS

NUM_CLASSES, SMOOTHING = 1000, 0.1


class PlainAttention(Attention):
    """The same weights, the attention matrix written out."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to [B, N, C]."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
        return self.drop(self.proj((weights @ value).transpose(1, 2).flatten(2)))


def build_model(arch: str, plain: bool) -> torch.nn.Module:
    """LV-ViT with its head, in training mode."""
    channels = {"tiny": 240, "small": 384, "medium": 512, "large": 768}[arch]
    model = MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=dict(type="mmtl.LVViT", arch=arch),
            head=dict(type="mmtl.TokenLabelHead", num_classes=NUM_CLASSES, in_channels=channels),
        )
    )
    for module in model.modules():
        if plain and isinstance(module, Attention):
            module.__class__ = PlainAttention
    return model.train()


def draw_batch(batch: int, device: str) -> dict[str, Tensor]:
    """Images with score maps of 18 x 18 cells, 5 classes each, and random crops of them."""
    generator = torch.Generator().manual_seed(0)
    ranks = torch.rand(batch, 18, 18, NUM_CLASSES, generator=generator).topk(5).indices
    corners = torch.rand(batch, 2, generator=generator) * 0.5
    tensors = dict(
        images=torch.randn(batch, 3, 224, 224, generator=generator),
        labels=torch.randint(NUM_CLASSES, (batch,), generator=generator),
        scores=torch.randn(batch, 18, 18, 5, generator=generator).mul(3).sort(descending=True).values.half(),
        classes=ranks.int(),
        boxes_xyxy=torch.cat([corners, corners + 0.5], dim=1),  # fractions of the image
    )
    # Score maps wait in pinned memory on the CPU, as a data loader leaves them.
    return {name: x.to(device) if name in ("images", "labels") else x for name, x in tensors.items()}


def ours(model: torch.nn.Module, data: dict[str, Tensor], device: str) -> Tensor:
    """Sparse targets, closed-form loss, fused attention."""
    x0, y0, x1, y1 = data["boxes_xyxy"].unbind(1)
    zero = torch.zeros_like(x0)
    affine = torch.stack([x1 - x0, zero, x0, zero, y1 - y0, y0], dim=1).view(-1, 2, 3)
    patches = token_targets(
        data["scores"], data["classes"], affine, (14, 14), NUM_CLASSES, smoothing=SMOOTHING, device=device
    )
    label = TokenTargets.from_labels(data["labels"], NUM_CLASSES).smoothed(SMOOTHING)
    samples = [DataSample()] * len(data["labels"])
    losses = model(data["images"], samples, mode="loss", targets=BatchTargets(label, patches, (14, 14)))
    return losses["loss_cls"] + losses["loss_token"]


def plain(model: torch.nn.Module, data: dict[str, Tensor], device: str) -> Tensor:
    """Dense targets, soft cross-entropy over all classes, attention written out."""
    scores, classes = (data[name].to(device).permute(0, 3, 1, 2) for name in ("scores", "classes"))
    maps = torch.zeros(len(scores), NUM_CLASSES, 18, 18, device=device).scatter_(1, classes.long(), scores.float())
    targets = roi_align(maps, list((18 * data["boxes_xyxy"].to(device)).split(1)), 14, aligned=True)
    targets = smoothed(targets.softmax(1))  # [B, K, 14, 14]
    tokens = model.backbone(data["images"])[-1]
    logits = model.head.token_fc(tokens[:, 1:]).float()  # [B, N, K]
    loss_token = soft_cross_entropy(logits, targets.flatten(2).transpose(1, 2))
    label = smoothed(F.one_hot(data["labels"], NUM_CLASSES).float())
    return soft_cross_entropy(model.head.fc(tokens[:, 0]).float(), label) + 0.5 * loss_token


def smoothed(targets: Tensor) -> Tensor:
    """Released label smoothing."""
    return targets * (1 - SMOOTHING + SMOOTHING / NUM_CLASSES) + SMOOTHING / NUM_CLASSES


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over everything but the classes, which come last."""
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


def step(loss_of: Callable, model: torch.nn.Module, data: dict, args: argparse.Namespace) -> float:
    """Forward, loss and backward; the loss."""
    model.zero_grad(set_to_none=True)
    with torch.autocast(args.device, getattr(torch, args.dtype), enabled=args.dtype != "float32"):
        loss = loss_of(model, data, args.device)
    loss.backward()
    return loss.item()


def peak_mib(run: Callable[[], object], device: str) -> float:
    """Most memory that the run holds beyond what was there before, in MiB."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / 2**20


def main() -> None:
    """Measure both ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="small")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = draw_batch(args.batch, args.device)
    models = {"plain": build_model(args.arch, plain=True), "ours": build_model(args.arch, plain=False)}
    models["ours"].load_state_dict(models["plain"].state_dict())
    runs = {}
    for name, loss_of in (("plain", plain), ("ours", ours)):
        model = models[name].to(args.device)
        if args.compile:
            model.backbone.compile()
        runs[name] = lambda loss_of=loss_of, model=model: step(loss_of, model, data, args)
    losses = {name: run() for name, run in runs.items()}  # also the warm-up
    memory = {name: peak_mib(run, args.device) for name, run in runs.items()}
    seconds = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    settings = f"LV-ViT {args.arch}, 224 x 224, batch {args.batch}, {args.dtype}, {args.device}"
    print(
        f"{settings}, {args.threads} threads, compile {args.compile}, {args.rounds} rounds, torch {torch.__version__}"
    )
    print("| way | step, ms | images/s | peak MiB | loss |\n|---|---|---|---|---|")
    for name in runs:
        rate = args.batch / median[name]
        print(f"| {name} | {1e3 * median[name]:.1f} | {rate:.1f} | {memory[name]:.0f} | {losses[name]:.4f} |")
    ratios = median["ours"] / median["plain"], memory["ours"] / memory["plain"]
    print(f"| ratio | {ratios[0]:.3f} | {1 / ratios[0]:.3f} | {ratios[1]:.3f} | |")


if __name__ == "__main__":
    main()
