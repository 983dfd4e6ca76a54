"""Measure the overhead of top-k, encoding and writing over the annotator's inference.

python benchmarks/score_map_writing.py IMAGES --annotator timm/resnet18 --folder DIR

Prints one table: plain inference (decoding and logits), making score maps, ratio; medians of alternating rounds.
"""

import argparse
import shutil
import time
from pathlib import Path

import torch
from measure import alternate
from torch.utils.data import DataLoader

from mmtl.annotators.annotator import Inference
from mmtl.annotators.generate import Job, Options, run_job
from mmtl.annotators.images import collate
from mmtl.annotators.load import load_annotator
from mmtl.annotators.make_store import prepare_job


def plain_inference(job: Job) -> None:
    """Compute and discard the logits of every image."""
    for _, _, images in DataLoader(job.images, job.options.batch_size, collate_fn=collate):
        job.annotator.logits(images)


def make_maps(job: Job) -> None:
    """Do the same with top-k, encoding and writing."""
    job.folder.mkdir()
    run_job(job, range(job.plan.num_units), lambda count: count)
    shutil.rmtree(job.folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--annotator", default="timm/resnet18")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    annotator = load_annotator(args.annotator, "random", "cpu", Inference())
    job = prepare_job(annotator, args.images, args.folder, Options(batch_size=args.batch_size, workers=0))
    count = len(job.plan.keys)
    print(f"{args.annotator}, {count} images, map {job.layout.grid_hw}, top {job.layout.topk}")
    print(f"{'':24}{'score maps':>12}{'plain':>12}{'ratio':>10}")
    ways = {"plain": lambda: plain_inference(job), "maps": lambda: make_maps(job)}
    for name, clock in (("wall s / image", time.perf_counter), ("processor s / image", time.process_time)):
        seconds = alternate(ways, args.rounds, clock=clock)
        maps, plain = seconds["maps"] / count, seconds["plain"] / count
        print(f"{name:24}{maps:12.5f}{plain:12.5f}{maps / plain:9.3f} x")


if __name__ == "__main__":
    main()
