"""UperNet on LV-ViT-S, M and L: images/s and peak memory of a training step and of inference.

python benchmarks/segmentation.py                                             # CPU, float32, two images, 2 threads
python benchmarks/segmentation.py --device cuda --dtype bfloat16 --compile reduce-overhead   # with CUDA graphs
python benchmarks/segmentation.py --device meta                               # only memory, from the shapes

A training step is forward, loss and backward, with activation checkpointing of the backbone's blocks (``with_cp``) off
and on; inference is one window, to logits at the image's size. Memory is what a pass allocates at its peak beyond the
weights: activations and, in training, gradients. AdamW needs twice the weights in addition. The three passes of a
model alternate in one process; ratios are to the training step without checkpointing. ``--clock cpu --threads 1``
measures processor time, for a machine that is busy with other work. ``--device meta`` computes nothing and counts the
tensors that are alive after each operation, in float32; the internal memory of kernels does not count, and attention,
which is not fused there, keeps its weights for the backward pass.
"""

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from measure import CLOCKS, alternate, make_parser, peak_mib
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.models.decode_heads import decode_head
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmtl.engine.hooks.compile import compile_model

CONFIG = "configs/lvvit/lvvit-{}_upernet_8xb2-160k_ade20k-512x512.py"
TRAIN, CHECKPOINTED, INFERENCE = "training step", "training step, with_cp", "inference"


def build_model(arch: str, image_size: int, device: str) -> nn.Module:
    """Return the recipe's segmentor of an architecture, with random weights."""
    cfg = Config.fromfile(Path(__file__).parents[1] / CONFIG.format(arch))
    cfg.model.backbone.img_size = image_size
    with DefaultScope.overwrite_default_scope("mmseg"):
        return revert_sync_batchnorm(MODELS.build(cfg.model)).to(device)


def passes(model: nn.Module, args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Return the three passes of a model over one batch of noise."""
    size = (args.image_size, args.image_size)
    images = torch.randn(args.batch, 3, *size, device=args.device)
    labels = torch.randint(150, (args.batch, 1, *size), device=args.device)
    samples = [SegDataSample(metainfo=dict(img_shape=size), gt_sem_seg=PixelData(data=each)) for each in labels]
    full = args.dtype == "float32"
    autocast = nullcontext() if full else torch.autocast(args.device, getattr(torch, args.dtype))

    def train(with_cp: bool) -> None:
        model.train().zero_grad(set_to_none=True)
        model.backbone.with_cp = with_cp
        with autocast:
            losses = model(images, samples, mode="loss")
        sum(value for name, value in losses.items() if "loss" in name).backward()
        model.zero_grad(set_to_none=True)

    @torch.no_grad()
    def infer() -> None:
        with autocast:
            model.eval().encode_decode(images, [dict(img_shape=size)])

    return {TRAIN: lambda: train(False), CHECKPOINTED: lambda: train(True), INFERENCE: infer}


def measure(arch: str, args: argparse.Namespace) -> None:
    """Print the rows of one architecture."""
    model = build_model(arch, args.image_size, args.device)
    if args.compile:
        compile_model(model, dict(mode=args.compile))
    weights = sum(parameter.numel() for parameter in model.parameters())
    runs = passes(model, args)
    known = [*model.parameters(), *model.buffers()]
    memory = {name: peak_mib(run, args.device, known) for name, run in runs.items()}  # also the warm-up
    if args.device == "meta":
        seconds = dict.fromkeys(runs, float("nan"))
    else:
        seconds = alternate(runs, args.rounds, args.device, CLOCKS[args.clock], warm_up=False)
    for name in runs:
        ratios = f"{seconds[name] / seconds[TRAIN]:.2f} | {memory[name] / memory[TRAIN]:.2f}"
        row = (
            f"| {arch} | {weights / 1e6:.1f} | {name} | {seconds[name]:.3f} | {args.batch / seconds[name]:.2f} "
            f"| {memory[name]:.0f} | {ratios} |"
        )
        print(row.replace("nan", "-"), flush=True)


def main() -> None:
    """Measure and print."""
    devices = ("cpu", "cuda", "meta")
    parser = make_parser(__doc__, devices, batch=2, rounds=3, threads=2, dtype="float32", clock="wall")
    parser.add_argument("--archs", nargs="+", default=["small", "medium", "large"])
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--compile", metavar="MODE", help="of torch.compile: default, reduce-overhead, …")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.device == "meta":
        if args.dtype != "float32":
            parser.error("--device meta supports only float32")
        decode_head.accuracy = lambda *_, **__: torch.zeros(1, device="meta")  # it reads values
    print(f"{args.image_size} x {args.image_size}, batch {args.batch}, {args.dtype}, {args.device}, ", end="")
    print(f"{args.threads} threads, {args.clock} time, {args.rounds} rounds, torch {torch.__version__}")
    print("| model | weights, M | pass | seconds | images/s | peak MiB | time ratio | memory ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for arch in args.archs:
        measure(arch, args)


if __name__ == "__main__":
    main()
