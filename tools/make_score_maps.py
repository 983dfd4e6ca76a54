"""Annotate a folder of images with a classifier kept dense, and write a store of score maps.

mim run mmtl make_score_maps CONFIG CHECKPOINT IMAGES OUT

CONFIG is an MMPretrain config (or a model name of its zoo), CHECKPOINT a weights file (or `random`). Run again, the
command continues where it was stopped.
"""

import argparse
import sys
from pathlib import Path

import torch
from mmengine.logging import MMLogger

from mmtl.score_maps.annotator import load_annotator
from mmtl.score_maps.make import Options, make_store, prepare_job, summary


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="MMPretrain config file or model name")
    parser.add_argument("checkpoint", help="weights file, or `random`")
    parser.add_argument("images", type=Path, help="image root; class folders, sorted, are the class indices")
    parser.add_argument("out", type=Path, help="folder of the store")
    parser.add_argument("--topk", type=int, default=5, help="classes kept per cell (default 5)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2, help="processes that decode images")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--input-size",
        type=int,
        nargs="+",
        metavar="PIXELS",
        help="side, or height and width (default: the annotator's)",
    )
    parser.add_argument(
        "--max-undecodable", type=float, default=0.001, metavar="SHARE", help="share of images that may be undecodable"
    )
    parser.add_argument("--shard-images", type=int, help="images per shard (default: chosen, at most 256 MB)")
    return parser.parse_args()


def read_options(arguments: argparse.Namespace) -> Options:
    """Options from the command line.

    Raises:
        ValueError: A number is out of range.
    """
    size = arguments.input_size
    if size is not None and (len(size) > 2 or min(size) < 1):
        raise ValueError(f"--input-size {size}: one side, or height and width, in pixels are wanted.")
    for name in ("batch_size", "topk", "shard_images"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}: at least 1 is wanted.")
    return Options(
        topk=arguments.topk,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        input_hw=(size[0], size[-1]) if size else None,
        max_undecodable=arguments.max_undecodable,
        shard_images=arguments.shard_images,
    )


def main() -> None:
    """Make the store and say how good the annotator is."""
    arguments = parse_arguments()
    options = read_options(arguments)
    MMLogger.get_current_instance().setLevel("WARNING")  # weight initialisation is told line by line
    annotator = load_annotator(arguments.config, arguments.checkpoint, arguments.device)
    job = prepare_job(annotator, arguments.images, arguments.out, options)
    make_store(job)
    totals = summary(arguments.out)
    print(f"{totals['images']} score maps of {job.layout.grid_hw} cells, top {options.topk}, in {arguments.out}")
    if totals["labelled"]:
        top1, top5 = (100 * totals[name] / totals["labelled"] for name in ("top1", "top5"))
        print(f"Annotator on these images (pooled maps against class folders): top-1 {top1:.2f} %, top-5 {top5:.2f} %")
    else:
        print(f"Top-1 of the annotator: not known, there are no {job.layout.num_classes} class folders.")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
