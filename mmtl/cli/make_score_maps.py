"""Annotate a folder of images with a classifier converted to dense prediction, and write a store of score maps.

mmtl make_score_maps CONFIG CHECKPOINT IMAGES OUT
mmtl make_score_maps NAME | timm/NAME IMAGES OUT --pretrained | --checkpoint FILE
mmtl make_score_maps lite/efficientnet_lite0 IMAGES OUT

CONFIG is an MMPretrain config (or a model name of its zoo), CHECKPOINT a weights file (or `random`). The same command
resumes a run that was stopped, with any number of processes. `--launcher pytorch --processes 8` starts eight; under
torchrun or srun (`--launcher slurm`) the command joins the processes that these have started.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmtl.utils.cli import check_input_size, check_minimum
from mmtl.utils.processes import usable_cpus

AMP_TYPES = ("bfloat16", "float16")


def parse_args(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Read the command line."""
    add = parser.add_argument
    add("config", help="MMPretrain config file or model name, timm/NAME, or lite/efficientnet_lite0 (lite1, lite2)")
    add("checkpoint", nargs="?", help="weights file, or `random`")
    add("images", type=Path, help="image root; class folders, sorted, are the class indices")
    add("out", type=Path, help="folder of the store")
    add("--pretrained", action="store_true", help="download the weights of a model's name")
    add("--checkpoint", dest="checkpoint_option", metavar="FILE", help="weights file, or `random`")
    add("--topk", type=int, help="classes listed per cell (default: 5, or all if there are fewer)")
    add("--batch-size", type=int, default=64)
    add(
        "--workers",
        type=int,
        default=min(2, usable_cpus()),
        help="processes that decode images, per process that annotates",
    )
    add("--device", help="default: the process's own GPU if there is one, else the CPU")
    add("--input-size", type=int, nargs="+", metavar="PIXELS", help="side, or height and width (default: its own)")
    add("--crops", type=int, default=1, metavar="N", help="average with N x N tiles at N times the size")
    add("--flip", action="store_true", help="average with the mirrored image")
    add("--amp", choices=AMP_TYPES, help="mixed precision")
    add("--channels-last", action="store_true", help="channels-last memory layout")
    add("--score-bits", type=int, default=16, choices=(8, 16), help="8: compact form")
    add(
        "--classes",
        type=Path,
        metavar="FILE",
        help="keep only these classes: names, class folders or indices, one a line",
    )
    add(
        "--list",
        type=Path,
        dest="list_file",
        metavar="FILE",
        help="only the images of a list: in each line a path below IMAGES, a space and the index of its class",
    )
    add("--max-undecodable", type=float, default=0.001, metavar="SHARE", help="share that may be undecodable")
    add("--shard-images", type=int, help="images per shard (default: chosen, at most 256 MB)")
    add("--launcher", choices=("none", "pytorch", "slurm"), default="none")
    add("--processes", type=int, help="with --launcher pytorch: number of processes (default: one per GPU)")
    args = parser.parse_intermixed_args(arguments)
    check_minimum(args, 1, "batch_size", "topk", "shard_images", "crops", "processes")
    check_minimum(args, 0, "workers")
    check_input_size(args)
    if not 0 <= args.max_undecodable <= 1:
        raise ValueError(f"--max-undecodable must be a share from 0 to 1, got {args.max_undecodable}.")
    return args


def main(parser: ArgumentParser, arguments: list[str]) -> int:
    """Make the store and return the exit code."""
    args = parse_args(parser, arguments)
    import torch
    from mmengine.logging import MMLogger

    from mmtl.annotators.annotator import Inference
    from mmtl.annotators.generate import Options
    from mmtl.annotators.launch import run_on_ranks
    from mmtl.annotators.load import load_annotator
    from mmtl.annotators.load_mmpretrain import PRETRAINED
    from mmtl.annotators.make_store import annotate_folder
    from mmtl.annotators.work_queue import WorkQueue

    input_hw = (args.input_size[0], args.input_size[-1]) if args.input_size else None
    names = ("topk", "batch_size", "workers", "max_undecodable", "shard_images", "score_bits", "classes", "list_file")
    options = Options(input_hw=input_hw, **{name: getattr(args, name) for name in names})
    weights = [args.checkpoint, args.checkpoint_option, PRETRAINED if args.pretrained else None]
    weights = [each for each in weights if each is not None] or [None]
    if len(weights) > 1:
        raise ValueError(f"Weights must be given once, got {', '.join(weights)}.")
    inference = Inference(args.crops, args.flip, args.amp and getattr(torch, args.amp), args.channels_last)

    def work(queue: WorkQueue) -> None:
        MMLogger.get_current_instance().setLevel("WARNING")  # weight initialization logs every parameter
        device = args.device or (f"cuda:{queue.local_rank}" if torch.cuda.is_available() else "cpu")
        annotator = load_annotator(args.config, weights[0], device, inference, input_hw)
        annotate_folder(annotator, args.images, args.out, options, queue)

    return run_on_ranks(work, args.launcher, args.processes)
