r"""Whether token labels, MixToken and CutMix pay: arms of several seeds on CIFAR-10, in one table.

On a GPU, the six arms that answer this:

    python benchmarks/proof/run.py data/cifar10 --device cuda --batch 512 --jobs 6 --epochs 60 --seeds 3 \
        --arms "class labels" "class labels, CutMix" "token labels" "token labels, MixToken" \
        "token labels, true probabilities" "token labels, online"

On a CPU, as a check:

    python benchmarks/proof/run.py data/cifar10 --epochs 1 --seeds 1

Without --arms, two more arms run: "self-emerging, soft" and "self-emerging, hard", with one labeler per seed.

The images stay on the device; crops, flips, score maps and the model are MMPretrain's and mmtl's, in a bare loop. The
annotator is trained first, on the same images, unless --annotator and --checkpoint name one or no arm needs it. All
arms share model, steps, learning rate and seeds, and differ only in what arms.py lists. Self-emerging labels are those
of a labeler that is trained before for as many epochs, with the same seed. corruptions.py tests the models that this
script keeps.
"""

import argparse
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from arms import ARMS, LABELER, RECIPES
from fit import fit, seeded, top1
from images import Images, read_folder
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import Tensor, multiprocessing, nn

from mmtl.annotators.annotator import Annotator, Inference
from mmtl.annotators.generate import top_classes
from mmtl.annotators.load import load_annotator
from mmtl.annotators.online import resize

ANNOTATOR = "resnet-nano_1xb128-8e_cifar10.py"
TOPK = 5


def main() -> None:
    """Train the arms and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train/CLASS/* and val/CLASS/*")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128, help="images per step (default: 128)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time on the device (default: 1)")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    parser.add_argument("--annotator", help="its MMPretrain config (default: a ResNet-18, trained here)")
    parser.add_argument("--checkpoint", help="the annotator's weights")
    parser.add_argument("--annotator-epochs", type=int, help="default: --epochs")
    parser.add_argument("--width", type=int, default=20, help="channels of the annotator trained here (default: 20)")
    parser.add_argument("--dtype", default="float32", help="precision of online annotators (default: float32)")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/proof"))
    args = parser.parse_args()
    train, val = (read_folder(args.data / part) for part in ("train", "val"))
    needed = {ARMS[arm].source for arm in args.arms}
    source, maps = annotate(train, val, args) if needed & {"store", "online"} else (None, None)
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        labelers = [None] * args.seeds
        if "labeler" in needed:
            labelers = pool.starmap(train_labeler, [(train, seed, args) for seed in range(args.seeds)], chunksize=1)
        sources = {"store": maps, "online": source, "labeler": labelers, None: None}
        tasks = [(arm, seed, train, val, sources, args) for seed in range(args.seeds) for arm in args.arms]
        results = {}
        for arm, seed, accuracy, seconds in pool.imap_unordered(run_arm, tasks):
            print(f"{arm}, seed {seed}: {accuracy:.2f} %, {seconds:.0f} s", flush=True)
            results[arm, seed] = accuracy, seconds
    print_table(results, args)


def annotate(train: Images, val: Images, args: argparse.Namespace) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the annotator, which is trained here unless it is given, and its score maps of the training images."""
    source = dict(model=args.annotator, checkpoint=args.checkpoint)
    if args.annotator is None:
        source = train_annotator(train, args)
    annotator = load_annotator(source["model"], source["checkpoint"], args.device, Inference())
    maps = score_maps(annotator, train)
    pooled = float((pooled_classes(maps, len(train.class_names)) == train.labels).float().mean())
    print(f"annotator: {accuracy_of(annotator, val):.2f} % top-1; pooled maps of the training images: {pooled:.2%}")
    return source, maps


def train_annotator(train: Images, args: argparse.Namespace) -> dict[str, str]:
    """Train the annotator of the recipe, in this width; return its config and weights."""
    config = Config.fromfile(RECIPES / ANNOTATOR)
    config.model.backbone.update(base_channels=args.width, stem_channels=args.width)
    config.model.head.in_channels = 4 * args.width
    seeded(0)
    model = MODELS.build(config.model).to(args.device)
    model.init_weights()
    fit(
        model,
        train.to(args.device),
        maps=None,
        optim_wrapper=dict(optimizer=dict(config.optim_wrapper.optimizer, lr=config.max_lr)),
        epochs=args.annotator_epochs or args.epochs,
        batch=args.batch,
    )
    return save(config, model, args.work_dir / "annotator", train.class_names)


@torch.no_grad()
def score_maps(annotator: Annotator, images: Images) -> dict[str, Tensor]:
    """Return the score maps of all images as fields of a batch, on the CPU."""
    fields = []
    for logits in logits_of(annotator, images):
        scores, classes, log_norm = top_classes(logits, TOPK)
        fields.append((scores.half().cpu(), classes.cpu(), log_norm.cpu()))
    return dict(zip(("scores", "classes", "log_norm"), map(torch.cat, zip(*fields, strict=True)), strict=True))


def logits_of(annotator: Annotator, images: Images, batch: int = 500) -> Iterator[Tensor]:
    """Yield the annotator's logits [B, h, w, K] of images resized as an online annotator resizes them."""
    size_hw = annotator.size_hw or images.pixels.shape[-2:]
    for pixels in images.pixels.split(batch):
        yield annotator.logits(resize(pixels, annotator, size_hw))


def pooled_classes(maps: dict[str, Tensor], num_classes: int) -> Tensor:
    """Return the class with the largest mean probability over the cells of each map."""
    weights = (maps["scores"].float() - maps["log_norm"].float().unsqueeze(-1)).exp()
    pooled = torch.zeros(len(weights), num_classes)
    return pooled.scatter_add_(1, maps["classes"].flatten(1).long(), weights.flatten(1)).argmax(1)


def accuracy_of(annotator: Annotator, images: Images) -> float:
    """Return the annotator's accuracy in percent."""
    classes = torch.cat([logits.mean((1, 2)).argmax(1).cpu() for logits in logits_of(annotator, images)])
    return 100 * float((classes == images.labels).float().mean())


def run_arm(task: tuple) -> tuple[str, int, float, float]:
    """Train, save and evaluate one arm with one seed; return both with its accuracy and seconds."""
    name, seed, train, val, sources, args = task
    source, maps, changes = ARMS[name].source, None, {}
    if source == "store":
        maps = {name: values.to(args.device) for name, values in sources["store"].items()}
    elif source is not None:
        annotator = sources["labeler"][seed] if source == "labeler" else sources["online"]
        topk = None if source == "labeler" else TOPK  # label forms need all classes
        changes = {"model.annotator": dict(annotator, topk=topk, dtype=args.dtype)}
    start = time.perf_counter()
    config = ARMS[name].config(**changes)
    model = trained(config, train.to(args.device), maps, seed, args)
    seconds = time.perf_counter() - start
    save(config, model, args.work_dir / file_stem(name, seed), train.class_names)
    return name, seed, top1(model, val.to(args.device)), seconds


def file_stem(arm: str, seed: int | str) -> str:
    """Return the name of an arm's files without suffix."""
    return f"{re.sub('[^a-z]+', '-', arm.lower())}_{seed}"


def train_labeler(train: Images, seed: int, args: argparse.Namespace) -> dict[str, str]:
    """Train phase 1 of self-emerging labels; return it as an online annotator."""
    config = LABELER.config()
    model = trained(config, train.to(args.device), None, seed, args)
    return save(config, model, args.work_dir / f"labeler_{seed}", train.class_names)


def save(config: Config, model: nn.Module, stem: Path, class_names: list[str]) -> dict[str, str]:
    """Write a config and weights; return their paths as arguments of an annotator."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    config.dump(stem.with_suffix(".py"))
    meta = {"dataset_meta": {"classes": class_names}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, stem.with_suffix(".pth"))
    return dict(model=str(stem.with_suffix(".py")), checkpoint=str(stem.with_suffix(".pth")))


def trained(
    config: Config, train: Images, maps: dict[str, Tensor] | None, seed: int, args: argparse.Namespace
) -> nn.Module:
    """Build and train the model of a config."""
    if args.jobs > 1:
        torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    seeded(seed)
    model = MODELS.build(config.model).to(args.device)
    model.init_weights()
    fit(
        model,
        train,
        maps,
        optim_wrapper=config.optim_wrapper,
        epochs=args.epochs,
        batch=args.batch,
        seed=seed,
        compile_model=args.compile,
    )
    return model


def print_table(results: dict[tuple[str, int], tuple[float, float]], args: argparse.Namespace) -> None:
    """Print mean, spread and seconds of each arm."""
    print(
        f"\n| trained with, {args.epochs} epochs | top-1, mean ± std, % | seeds | seconds per run |\n|---|---|---|---|"
    )
    for arm in args.arms:
        accuracies = [results[arm, seed][0] for seed in range(args.seeds)]
        seconds = np.mean([results[arm, seed][1] for seed in range(args.seeds)])
        spread = f" ± {statistics.stdev(accuracies):.1f}" if args.seeds > 1 else ""
        listed = " / ".join(f"{value:.1f}" for value in accuracies)
        print(f"| {arm} | **{statistics.mean(accuracies):.1f}**{spread} | {listed} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
