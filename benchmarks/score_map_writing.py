"""Measure the overhead of top-k, encoding and writing over the annotator's inference.

python benchmarks/score_map_writing.py IMAGES --annotator timm/resnet18 --folder DIR

Prints one table: plain inference (decoding and logits), making score maps, ratio; best of alternating rounds.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from mmtl.annotators.annotator import Inference
from mmtl.annotators.generate import Job, run_job
from mmtl.annotators.images import collate
from mmtl.annotators.load import load_annotator
from mmtl.annotators.make_store import Options, prepare_job


def plain_inference(job: Job) -> None:
    """Compute and discard the logits of every image."""
    for _, _, images in DataLoader(job.images, job.batch_size, num_workers=job.workers, collate_fn=collate):
        job.annotator.logits(images)


def make_maps(job: Job) -> None:
    """Do the same with top-k, encoding and writing."""
    job.folder.mkdir()
    run_job(job, range(job.plan.num_units), lambda count: count)
    shutil.rmtree(job.folder)


def seconds(run: Callable[[Job], None], job: Job) -> tuple[float, float]:
    """Return wall clock and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    run(job)
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--annotator", default="timm/resnet18")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    annotator = load_annotator(arguments.annotator, "random", "cpu", Inference())
    options = Options(batch_size=arguments.batch_size, workers=0)
    job = prepare_job(annotator, arguments.images, arguments.folder, options)
    plain, ours = zip(
        *[(seconds(plain_inference, job), seconds(make_maps, job)) for _ in range(arguments.rounds)], strict=True
    )
    count = len(job.plan.keys)
    print(f"{arguments.annotator}, {count} images, map {job.layout.grid_hw}, top {job.layout.topk}")
    print(f"{'':24}{'score maps':>12}{'plain':>12}{'ratio':>10}")
    for name, column in (("wall s / image", 0), ("processor s / image", 1)):
        with_maps, without = (min(run[column] for run in runs) / count for runs in (ours, plain))
        print(f"{name:24}{with_maps:12.5f}{without:12.5f}{with_maps / without:9.3f} x")


if __name__ == "__main__":
    main()
