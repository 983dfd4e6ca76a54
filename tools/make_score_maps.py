"""Annotate a folder of images with a classifier kept dense, and write a store of score maps.

mim run mmtl make_score_maps CONFIG CHECKPOINT IMAGES OUT
mim run mmtl make_score_maps timm/NAME IMAGES OUT [--pretrained | --checkpoint FILE]

CONFIG is an MMPretrain config (or a model name of its zoo), CHECKPOINT a weights file (or `random`). Run again, the
command continues where it was stopped, with any number of processes. `--launcher pytorch --processes 8` starts eight;
under torchrun or srun (`--launcher slurm`) it joins those that are there.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

import torch
from mmengine.logging import MMLogger

from mmtl.annotators.annotator import Annotator, Inference
from mmtl.annotators.load import load_annotator
from mmtl.annotators.load_timm import PRETRAINED
from mmtl.annotators.make_store import Options, make_store, prepare_job, summary
from mmtl.annotators.work_queue import Alone, TeamFailure, join_team

AMP_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("config", help="MMPretrain config file or model name, or timm/NAME")
    add("checkpoint", nargs="?", help="weights file, or `random` (left out for timm)")
    add("images", type=Path, help="image root; class folders, sorted, are the class indices")
    add("out", type=Path, help="folder of the store")
    add("--pretrained", action="store_true", help="timm: download the model's own weights")
    add("--checkpoint", dest="checkpoint_option", metavar="FILE", help="timm: weights file")
    add("--topk", type=int, default=5, help="classes kept per cell (default 5)")
    add("--batch-size", type=int, default=64)
    add("--workers", type=int, default=2, help="processes that decode images, per process that annotates")
    add("--device", help="default: the process's own GPU when there is one, else the CPU")
    add("--input-size", type=int, nargs="+", metavar="PIXELS", help="side, or height and width (default: its own)")
    add("--crops", type=int, default=1, metavar="N", help="average with N x N tiles at N times the size")
    add("--flip", action="store_true", help="average with the mirrored image")
    add("--amp", choices=AMP_TYPES, help="mixed precision")
    add("--channels-last", action="store_true", help="channels-last memory layout")
    add("--score-bits", type=int, default=16, choices=(8, 16), help="8: compact form")
    add("--max-undecodable", type=float, default=0.001, metavar="SHARE", help="share that may be undecodable")
    add("--shard-images", type=int, help="images per shard (default: chosen, at most 256 MB)")
    add("--launcher", choices=("none", "pytorch", "slurm"), default="none")
    add("--processes", type=int, help="with --launcher pytorch: start so many (default: one per GPU)")
    return parser.parse_intermixed_args()


def read_options(arguments: argparse.Namespace) -> Options:
    """Options from the command line.

    Raises:
        ValueError: A number is out of range.
    """
    size = arguments.input_size
    if size is not None and (len(size) > 2 or min(size) < 1):
        raise ValueError(f"--input-size {size}: one side, or height and width, in pixels are wanted.")
    for name in ("batch_size", "topk", "shard_images", "crops", "processes"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}: at least 1 is wanted.")
    if arguments.workers < 0:
        raise ValueError(f"--workers {arguments.workers}: 0 (decode in the annotating process) or more are wanted.")
    if not 0 <= arguments.max_undecodable <= 1:
        raise ValueError(f"--max-undecodable {arguments.max_undecodable}: a share from 0 to 1 is wanted.")
    return Options(
        topk=arguments.topk,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        input_hw=(size[0], size[-1]) if size else None,
        max_undecodable=arguments.max_undecodable,
        shard_images=arguments.shard_images,
        score_bits=arguments.score_bits,
    )


def read_annotator(arguments: argparse.Namespace, options: Options, team: Alone) -> Annotator:
    """The annotator that the command line names.

    Raises:
        ValueError: Weights are named twice.
    """
    own_gpu = f"cuda:{team.local_rank}" if torch.cuda.is_available() else "cpu"
    device = arguments.device or own_gpu
    inference = Inference(arguments.crops, arguments.flip, AMP_TYPES.get(arguments.amp), arguments.channels_last)
    given = [arguments.checkpoint, arguments.checkpoint_option, PRETRAINED if arguments.pretrained else None]
    weights = [each for each in given if each is not None]
    if len(weights) > 1:
        raise ValueError(f"Weights are named {len(weights)} times: {', '.join(weights)}.")
    return load_annotator(arguments.config, weights[0] if weights else None, device, inference, options.input_hw)


def start_processes(count: int | None) -> int:
    """Run this very command in several processes, as torchrun does but without its report; the exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    count = count or max(1, torch.cuda.device_count())
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run(parse_args(["--standalone", "--nproc-per-node", str(count), *sys.argv]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:  # else it has said why itself
            print(f"error: process {rank} was ended by signal {-failure.exitcode}.", file=sys.stderr)
        return 1
    except (SignalException, KeyboardInterrupt):
        print("Stopped. The same command continues.", file=sys.stderr)
        return 130
    return 0


def annotate(arguments: argparse.Namespace, options: Options, team: Alone) -> None:
    """Make the store and say how good the annotator is."""
    MMLogger.get_current_instance().setLevel("WARNING")  # weight initialisation is told line by line
    annotator = read_annotator(arguments, options, team)
    job = prepare_job(annotator, arguments.images, arguments.out, options)
    make_store(job, team)
    if team.rank == 0:
        report(arguments.out, job.layout.grid_hw, job.layout.num_classes, options.topk)


def report(folder: Path, grid_hw: tuple[int, int], num_classes: int, topk: int) -> None:
    """Print what was made."""
    totals = summary(folder)
    print(f"{totals['images']} score maps of {grid_hw[0]} x {grid_hw[1]} cells, top {topk}, in {folder}")
    if totals["undecodable"]:
        print(f"{totals['undecodable']} images could not be decoded: {folder / 'undecodable.txt'}")
    if totals["labelled"]:
        top1, top5 = (100 * totals[name] / totals["labelled"] for name in ("top1", "top5"))
        print(f"The annotator on them (pooled maps against class folders): top-1 {top1:.2f} %, top-5 {top5:.2f} %")
    else:
        print(f"Top-1 of the annotator: not known, there are no {num_classes} class folders.")


def main() -> int:
    """Exit code of the command."""
    arguments = parse_arguments()
    team = Alone()
    try:
        options = read_options(arguments)
        if arguments.launcher == "pytorch" and "RANK" not in os.environ:
            return start_processes(arguments.processes)
        team = join_team(arguments.launcher)
        annotate(arguments, options, team)
    except TeamFailure:
        return 1
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if team.fail(str(error)):
            print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        team.fail("interrupted")
        print("Stopped. The same command continues.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
