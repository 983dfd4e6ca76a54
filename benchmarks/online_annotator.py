"""Labels of an online annotator compared with stored ones: what they differ by, and what the training step takes.

python benchmarks/online_annotator.py --arch tiny --annotator timm/resnet50 --batch 16             # CPU, minutes
python benchmarks/online_annotator.py --device cuda --dtype bfloat16 --annotator timm/dm_nfnet_f6 --size 576
python benchmarks/online_annotator.py --images IMAGES --annotator lite/efficientnet_lite0 --figure online.png

Without ``--images``: a training step with stored maps, the annotator's forward pass, and a training step with the
annotator take turns in one process; both are random. Memory above the step with stored maps is the annotator's weights
and what the peak of a step is higher.

With ``--images``: random resized crops and flips of all images below a folder. Stored maps are of full images; an
online map is of the crop, resized to the annotator's input. The total variation distance of two labels is half the sum
of the absolute differences of their probabilities: 0 if they are equal, 1 if they share no class. If folders are named
after classes, the number of crops whose mean label has the class of the folder follows.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import CHOICES, CLOCKS, alternate, make_parser, peak_mib
from mmpretrain.registry import MODELS, TRANSFORMS
from token_targets import make_maps
from torch import Tensor, nn

from mmtl.annotators.images import to_batch
from mmtl.annotators.online import OnlineAnnotator
from mmtl.datasets.transforms.geometry import flip_affine
from mmtl.models.lvvit.arch import ARCHS
from mmtl.models.token_labels import TokenTargets, token_targets
from mmtl.score_maps.class_table import ClassTable
from mmtl.utils.augment_draws import Operation, make_draw
from mmtl.utils.image_files import class_folders, list_images

GRID, SIZE = (14, 14), 224
NANO = dict(embed_dims=96, num_layers=4, num_heads=3, feedforward_channels=288, stem_channels=32, residual_divisor=2)


def build_student(arch: str, annotator: dict | None, num_classes: int) -> nn.Module:
    """Build LV-ViT with its head and data preprocessor, in training mode."""
    arch = NANO if arch == "nano" else arch
    channels = (ARCHS[arch] if isinstance(arch, str) else arch)["embed_dims"]
    torch.manual_seed(0)
    mean_std = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
    return MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=dict(type="mmtl.LVViT", arch=arch, img_size=SIZE),
            head=dict(type="mmtl.TokenLabelHead", num_classes=num_classes, in_channels=channels),
            data_preprocessor=dict(**mean_std, batch_augments=dict(augments=[dict(type="mmtl.MixToken")])),
            annotator=annotator,
        )
    ).train()


def make_batch(size: int, num_classes: int) -> dict[str, Tensor]:
    """Return a batch as a data loader returns it: half of the images are flipped, half sheared, half inverted."""
    generator = torch.Generator().manual_seed(0)
    shear = make_draw(Operation.WARP_BICUBIC, affine=[[1, 0.1, -0.05], [0, 1, 0]], fill=[104, 116, 124])
    steps = make_draw(Operation.FLIP_HORIZONTAL), shear, make_draw(Operation.INVERT)
    draws = np.stack(
        [np.stack([step * (image >> bit & 1) for bit, step in enumerate(steps)]) for image in range(size)]
    )
    return dict(
        inputs=torch.randint(0, 256, (size, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator),
        labels=torch.randint(num_classes, (size,), generator=generator),
        augment=torch.from_numpy(np.stack(draws)),
    )


def step(model: nn.Module, batch: dict[str, Tensor], args: argparse.Namespace) -> float:
    """Run a training step from the data loader's batch to the gradients, and return the loss."""
    model.zero_grad(set_to_none=True)
    with torch.autocast(args.device, getattr(torch, args.dtype), enabled=args.dtype != "float32"):
        losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
        loss = losses["loss_cls"] + losses["loss_token"]
    loss.backward()
    return loss.item()


def measure_time(args: argparse.Namespace) -> None:
    """Print time and memory of a step with the annotator next to those of its parts."""
    annotator = dict(model=args.annotator, checkpoint="random", dtype=args.annotator_dtype, topk=args.topk)
    annotator.update(input_size=args.size, compile=args.compile, channels_last=args.channels_last)
    annotate = OnlineAnnotator(**annotator, device=args.device)
    num_classes = annotate.found_classes
    plain, online = (build_student(args.arch, each, num_classes).to(args.device) for each in (None, annotator))
    online.data_preprocessor._annotator = annotate
    for model in (plain, online) if args.compile else ():
        model.compile_training()
    batch = make_batch(args.batch, num_classes)
    views = batch["inputs"].to(args.device)
    ways: dict[str, Callable[[], object]] = {
        "step with stored maps": partial(step, plain, batch | make_maps(args.batch, num_classes), args),
        "annotator": partial(annotate, views),
        "step with annotator": partial(step, online, batch, args),
    }
    for run in ways.values():  # the warm-up
        run()
    memory = {name: peak_mib(run, args.device) for name, run in ways.items()}
    median = alternate(ways, args.rounds, args.device, CLOCKS[args.clock], warm_up=False)
    weights = sum(p.nbytes for p in [*annotate.annotator.dense.parameters(), *annotate.annotator.dense.buffers()])
    print(f"LV-ViT {args.arch}, batch {args.batch}, {args.dtype}; {args.annotator}, {args.annotator_dtype}, ", end="")
    print(f"top {args.topk or 'all'} of {num_classes}; {args.device}, {args.threads} threads, {args.clock} time")
    print("| way | ms | peak MiB |\n|---|---|---|")
    for name, seconds in median.items():
        print(f"| {name} | {1e3 * seconds:.1f} | {memory[name]:.0f} |")
    stored, forward, together = median.values()
    extra = max(0.0, memory["step with annotator"] - memory["step with stored maps"])
    weights_mib = weights / 2**20
    print(f"step with annotator / (step with stored maps + annotator): {together / (stored + forward):.3f}")
    print(f"memory above the step with stored maps: weights {weights_mib:.0f} MiB + {extra:.0f} MiB", end="")
    print(f" = {(weights_mib + extra) / weights_mib:.2f} x the weights")


def labels_of(maps: dict[str, Tensor], view: np.ndarray | None = None) -> TokenTargets:
    """Return the labels of the student's tokens, by the annotator's true probabilities."""
    if view is not None:
        maps = maps | dict(view_affine=torch.from_numpy(view)[None].float())
    return token_targets(**maps, grid_hw=GRID, num_classes=maps["scores"].shape[-1], tail="probability")


def measure_labels(args: argparse.Namespace) -> None:
    """Print the distribution of the distance of stored and online labels, and draw it with examples."""
    load = TRANSFORMS.build(dict(type="mmtl.LoadImageFromFile"))
    crop = TRANSFORMS.build(dict(type="mmtl.RandomResizedCrop", scale=SIZE, backend="torch", interpolation="bicubic"))
    options = dict(model=args.annotator, checkpoint=args.checkpoint, dtype="float32", classes=args.classes)
    annotators = {size: OnlineAnnotator(**options, input_size=size) for size in args.sizes}
    distances: dict[str, list[Tensor]] = {}
    agreement: dict[str, list[float]] = {}
    examples, right = [], defaultdict(list)
    keys, any_size = list_images(args.images), annotators[args.sizes[0]]
    folders = class_folders(keys)
    known = ClassTable.of(any_size.annotator.description, any_size.found_classes, folders).of_folders(folders)
    np.random.seed(0)
    torch.manual_seed(0)
    for key in keys:
        image = load(dict(img_path=str(args.images / key)))
        full = {size: each(to_batch(image["img"][None])) for size, each in annotators.items()}
        sample = crop(image)
        view = sample["view_affine"]
        if np.random.rand() < 0.5:
            sample["img"], view = sample["img"][:, ::-1], view @ np.vstack((flip_affine("horizontal"), [0, 0, 1]))
        crops = to_batch(np.ascontiguousarray(sample["img"])[None])
        stored = {size: labels_of(maps, view).dense()[0] for size, maps in full.items()}
        online = {size: labels_of(each(crops)).dense()[0] for size, each in annotators.items()}
        pairs = {f"stored {a}, online {b}": (stored[a], online[b]) for a in stored for b in online}
        first, *others = stored
        pairs |= {f"stored {first}, stored {other}": (stored[first], stored[other]) for other in others}
        for name, (one, other) in pairs.items():
            distances.setdefault(name, []).append((one - other).abs().sum(-1) / 2)
            agreement.setdefault(name, []).append((one.argmax(-1) == other.argmax(-1)).float().mean().item())
        if (label := known.get(key.split("/")[0])) is not None:
            for name, labels in (("stored", stored), ("online", online)):
                for size, probability in labels.items():
                    right[f"{name} {size}"].append(int(probability.mean(0).argmax()) == label)
        examples.append((sample["img"][..., ::-1], stored[first], online[first]))
    print("| labels of a token | mean | 10 % | 50 % | 90 % | same top-1 class |\n|---|---|---|---|---|---|")
    for name, values in distances.items():
        values = torch.stack(values)
        marks = " | ".join(
            f"{value:.3f}" for value in (values.mean(), *values.quantile(torch.tensor([0.1, 0.5, 0.9])))
        )
        print(f"| {name} | {marks} | {100 * np.mean(agreement[name]):.1f} % |")
    for name, values in right.items():
        print(f"{name}: the mean label of {sum(values)} of {len(values)} crops has the class of the folder")
    if args.figure:
        chosen = np.linspace(0, len(examples) - 1, min(args.examples, len(examples))).round().astype(int)
        draw(distances, [examples[index] for index in chosen], args.figure)


def draw(distances: dict[str, list[Tensor]], examples: list[tuple[np.ndarray, Tensor, Tensor]], path: Path) -> None:
    """Draw the distributions, and for some crops the probability of the online map's main class in both labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12 if examples else 6, 7), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.1)) if examples else (figure, None)
    axes = left.subplots()
    for name, values in distances.items():
        sorted_values = torch.cat(values).sort().values
        axes.plot(sorted_values, np.linspace(0, 1, len(sorted_values)), label=name)
    axes.set(xlabel="total variation distance of a token's labels", ylabel="share of tokens", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="lower right")
    rows = right.subplots(len(examples), 3, squeeze=False) if examples else []
    for row, (image, stored, online) in zip(rows, examples, strict=True):
        main = online.mean(0).argmax()
        for cell, values in zip(row, (image, stored, online), strict=True):
            grid = values if values is image else values[:, main].view(GRID)
            cell.imshow(grid, vmin=0, vmax=255 if values is image else 1)
            cell.set_axis_off()
        row[1].set_title(f"stored, {stored[:, main].mean():.2f}", fontsize=9)
        row[2].set_title(f"online, {online[:, main].mean():.2f}", fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure labels of images, or without images the time."""
    parser = make_parser(
        __doc__, arch="small", annotator="timm/resnet50", batch=32, size=SIZE, rounds=7, threads=2, topk=5,
        dtype="float32", clock="wall",
    )  # fmt: skip
    parser.add_argument("--annotator-dtype", default="bfloat16", choices=CHOICES["dtype"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--checkpoint", help="of the annotator, with --images")
    parser.add_argument("--classes", help="file of the annotator's classes to keep, with --images")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 448], help="of its input, with --images")
    parser.add_argument("--figure", type=Path, help="with --images")
    parser.add_argument("--examples", type=int, default=4, help="crops in the figure")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    (measure_labels if args.images else measure_time)(args)


if __name__ == "__main__":
    main()
