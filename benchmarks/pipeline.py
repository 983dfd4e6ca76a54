"""What score maps cost a data-loader worker: the ImageNet recipe's training pipeline with a store and without.

    python benchmarks/pipeline.py IMAGES

IMAGES holds class folders. Their maps are drawn at random in the published size (18 x 18 cells, top 5). One thread, a
batch of 32 at a time as a worker makes it, collated; the ways take turns and draw the same random numbers, and the
processor time counts, so that other work on the machine does. A second table says where the time of an epoch goes,
with the targets that the training process makes of the maps.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from mmtl.engine.hooks.exact_resume import NumberedIndex, load_seeded
from mmtl.models import TokenLabelDataPreprocessor
from mmtl.models.collate import collate_labels
from mmtl.score_maps import ScoreMap, ScoreMapWriter
from mmtl.utils.image_files import list_images

RECIPE = Path(__file__).parents[1] / "configs/_base_/datasets/imagenet_score_maps.py"
BATCH = 32


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of class folders, such as data/imagenet/train")
    parser.add_argument("--batches", type=int, default=2, help="batches per round (default: 2)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds, the median counts (default: 15)")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    init_default_scope("mmpretrain")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        draw_score_maps(args.images, store)
        with_maps, without = (build_dataset(args.images, path) for path in (str(store), None))
        print_speed(
            {
                "with score maps": functools.partial(run_epoch, with_maps, args.batches),
                "without": functools.partial(run_epoch, without, args.batches),
                "without, draws not seeded": functools.partial(run_epoch, without, args.batches, seeded=False),
            },
            args.batches * BATCH,
            args.rounds,
        )
        print_profile(with_maps, args.batches, args.rounds)


def draw_score_maps(images: Path, store: Path) -> None:
    """Random maps for all images."""
    rng = np.random.default_rng(0)
    with ScoreMapWriter(store, num_classes=1000, grid_hw=(18, 18), topk=5) as writer:
        for key in list_images(images):
            scores = -np.sort(-rng.normal(5, 2, (18, 18, 5))).astype(np.float16)
            classes = rng.permuted(np.tile(np.arange(1000, dtype=np.uint16), (18, 18, 1)), axis=-1)[..., :5]
            writer.add(key, ScoreMap(scores, classes))


def build_dataset(images: Path, store: str | None) -> torch.utils.data.Dataset:
    """The recipe's training pipeline over all images."""
    pipeline = Config.fromfile(RECIPE).train_pipeline
    for step in pipeline:
        if step.type == "mmtl.LoadScoreMap":
            step.update(store=store, image_root=str(images), num_classes=1000)
    return DATASETS.build(dict(type="CustomDataset", data_root=str(images), pipeline=pipeline))


def run_epoch(dataset: torch.utils.data.Dataset, batches: int, seeded: bool = True) -> dict:
    """What a worker does: load, augment and collate some batches. Returns the last one."""
    for start in range(0, batches * BATCH, BATCH):
        items = [NumberedIndex(place % len(dataset), place) for place in range(start, start + BATCH)]
        batch = default_collate(load_seeded(dataset, 0, 0, items if seeded else [item.index for item in items]))
    return batch


def print_speed(ways: dict[str, Callable[[], object]], images: int, rounds: int) -> None:
    """Images per second of processor time, and the time against the second way, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(rounds + 1):
        for name, run in ways.items():
            start = time.process_time()
            run()
            if round_number:  # the first one warms up
                seconds[name].append(time.process_time() - start)
    baseline = seconds[list(ways)[1]]
    print(f"{'training pipeline':<28}{'images/s':>10}{'time, ratio':>14}")
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, baseline, strict=True))
        print(f"{name:<28}{images / statistics.median(values):>10.1f}{ratio:>14.3f}")


def print_profile(dataset: torch.utils.data.Dataset, batches: int, rounds: int) -> None:
    """Milliseconds of processor time per image of every step, and its share."""
    spent: dict[str, float] = defaultdict(float)
    steps = dataset.pipeline.transforms
    dataset.pipeline.transforms = [clocked(step, type(step).__name__, spent) for step in steps]
    preprocessor = TokenLabelDataPreprocessor(num_classes=1000, token_stride=16)
    for _ in range(rounds):
        start, steps_before = time.process_time(), sum(spent.values())
        batch = run_epoch(dataset, batches)
        around = time.process_time() - start - (sum(spent.values()) - steps_before)
        spent["seeding, index, collate"] += around
        labels = collate_labels(batch["data_samples"])
        clocked(preprocessor.build_targets, "targets (training process)", spent)(labels, (224, 224))
    dataset.pipeline.transforms = steps
    spent["targets (training process)"] *= batches  # they were made of one batch a round
    milliseconds = {name: seconds / (rounds * batches * BATCH) * 1000 for name, seconds in spent.items()}
    print(f"\n{'where the time goes':<28}{'ms/image':>10}{'share':>10}")
    for name, value in milliseconds.items():
        print(f"{name:<28}{value:>10.3f}{value / sum(milliseconds.values()):>9.1%}")


def clocked(step: Callable, name: str, spent: dict[str, float]) -> Callable:
    """The same call, its processor time added up."""

    def run(*args: object) -> object:
        start = time.process_time()
        result = step(*args)
        spent[name] += time.process_time() - start
        return result

    return run


if __name__ == "__main__":
    main()
