"""Processor time of a data-loader worker per image: the ImageNet recipe with score maps and OpenMMLab's own pipeline.

    python benchmarks/pipeline.py [--images data/imagenet/train]

Without --images it writes JPEGs of ImageNet's size. The score maps are random, in the published size (18 x 18 cells,
top 5). One thread, a batch of 32 at a time as a worker makes it, collated; the recipe's samples are seeded one by one
as mmtl.ExactResumeHook does. The pipelines take turns in one process. The first row is MMPretrain's (OpenCV decode,
Pillow crop, RandAugment, erasing, PackInputs), and ratios are relative to it. A second table lists the time of every
step of the recipe.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import alternate
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

from mmtl.engine.hooks.exact_resume import NumberedIndex, load_seeded
from mmtl.models import collate_training_batch
from mmtl.score_maps import ScoreMap, ScoreMapWriter
from mmtl.utils.image_files import list_images

RECIPE = Path(__file__).parents[1] / "configs/_base_/datasets/imagenet_score_maps.py"
BATCH = 32
ON_DEVICE = ("mmtl.RandomFlip", "mmtl.RandAugment", "mmtl.RandomErasing")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of class folders (default: synthetic JPEGs)")
    parser.add_argument("--batches", type=int, default=2, help="batches of 32 per round (default: 2)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds, the median counts (default: 15)")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    init_default_scope("mmpretrain")
    with tempfile.TemporaryDirectory() as folder:
        images = args.images or write_images(Path(folder, "images"))
        store = str(write_score_maps(images, Path(folder, "store")))
        recipe = dataset_of(images, recipe_steps(images, store, on_device=True))
        run = functools.partial(run_worker, batches=args.batches)
        ways = {
            "MMPretrain's transforms": functools.partial(
                run, dataset_of(images, stock_steps()), collate=default_collate, seeded=False
            ),
            "recipe, augmented in workers": functools.partial(
                run, dataset_of(images, recipe_steps(images, store, on_device=False))
            ),
            "recipe, augmented on device": functools.partial(run, recipe),
            "  without score maps": functools.partial(
                run, dataset_of(images, recipe_steps(images, None, on_device=True))
            ),
        }
        print_speed(alternate(ways, args.rounds, clock=time.process_time), args.batches * BATCH)
        print_profile(recipe, args.batches, args.rounds)


def write_images(folder: Path, count: int = 64) -> Path:
    """Write JPEGs of about ImageNet's size: 500 x 375 pixels or upright, 110 kB, smooth areas and fine texture."""
    rng = np.random.default_rng(0)
    for index in range(count):
        width, height = (500, 375) if index % 3 else (375, 500)
        image = np.full((height, width, 3), 128.0)
        for cells in (4, 12, 40, 120, 400):  # natural images have noise of every scale, the finer the weaker
            noise = rng.normal(0, 90 / cells**0.35, (cells, cells, 3))
            image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        path = folder / f"class_{index % 8}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 94])
    return folder


def write_score_maps(images: Path, store: Path) -> Path:
    """Write random maps for all images."""
    rng = np.random.default_rng(0)
    with ScoreMapWriter(store, num_classes=1000, grid_hw=(18, 18), topk=5) as writer:
        for key in list_images(images):
            scores = -np.sort(-rng.normal(5, 2, (18, 18, 5))).astype(np.float16)
            classes = rng.permuted(np.tile(np.arange(1000, dtype=np.uint16), (18, 18, 1)), axis=-1)[..., :5]
            writer.add(key, ScoreMap(scores, classes))
    return store


def recipe_steps(images: Path, store: str | None, on_device: bool) -> list[dict]:
    """Return the recipe's training pipeline, with its crop and augmentation for the device or for workers."""
    steps = Config.fromfile(RECIPE).train_pipeline
    for step in steps:
        if step.type == "mmtl.LoadScoreMap":
            step.update(store=store, image_root=str(images), num_classes=1000)
        elif step.type == "mmtl.RandomResizedCrop":
            step.backend = "torch" if on_device else "pillow"
        elif step.type in ON_DEVICE:
            step.on_device = on_device
    return steps


def stock_steps() -> list[dict]:
    """Return MMPretrain's transforms with the recipe's settings, its crop always bicubic."""
    steps = recipe_steps(Path(), None, on_device=False)
    steps = [step for step in steps if step.type != "mmtl.LoadScoreMap"]
    for step in steps:
        step.type = step.type.removeprefix("mmtl.").replace("PackTokenLabelInputs", "PackInputs")
        for ours in ("on_device", "data_sample"):
            step.pop(ours, None)
        if step.type == "RandomResizedCrop":
            step.interpolation = "bicubic"
    return steps


def dataset_of(images: Path, steps: list[dict]) -> Dataset:
    """Return the images with a pipeline."""
    return DATASETS.build(dict(type="CustomDataset", data_root=str(images), pipeline=steps))


def run_worker(
    dataset: Dataset, batches: int, collate: Callable[[list], dict] = collate_training_batch, seeded: bool = True
) -> None:
    """Load, augment and collate some batches as a worker does."""
    for start in range(0, batches * BATCH, BATCH):
        items = [NumberedIndex(position % len(dataset), position) for position in range(start, start + BATCH)]
        collate(load_seeded(dataset, 0, 0, items if seeded else [item.index for item in items]))


def print_speed(seconds: dict[str, float], images: int) -> None:
    """Print milliseconds of processor time per image and the ratio to the first way."""
    print(f"{'training pipeline':<32}{'ms/image':>10}{'ratio':>8}")
    baseline = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"{name:<32}{value / images * 1000:>10.3f}{value / baseline:>8.3f}")


def print_profile(dataset: Dataset, batches: int, rounds: int) -> None:
    """Print milliseconds of processor time per image of every step, and its share."""
    spent: dict[str, float] = defaultdict(float)
    dataset.pipeline.transforms = [clocked(step, type(step).__name__, spent) for step in dataset.pipeline.transforms]
    run = clocked(run_worker, "all", spent)
    for _ in range(rounds):
        run(dataset, batches)
    total = spent.pop("all")
    spent["seeding, index, collate"] = total - sum(spent.values())
    print(f"\n{'step':<32}{'ms/image':>10}{'share':>8}")
    for name, seconds in spent.items():
        print(f"{name:<32}{seconds / (rounds * batches * BATCH) * 1000:>10.3f}{seconds / total:>8.1%}")


def clocked(step: Callable, name: str, spent: dict[str, float]) -> Callable:
    """Return the same call that adds up its processor time."""

    def run(*args: object) -> object:
        start = time.process_time()
        result = step(*args)
        spent[name] += time.process_time() - start
        return result

    return run


if __name__ == "__main__":
    main()
