"""Classify a folder of images: a CSV table of the top-k classes of each, or only of the wrong predictions.

    mmtl predict CONFIG CHECKPOINT IMAGES -o predictions.csv
    mmtl predict CONFIG CHECKPOINT data/imagenet/val -o wrong.csv --wrong-only
    mmtl predict CONFIG CHECKPOINT photos --list photos-mmtl/val.txt -o predictions.csv

The table has a row for each image: its path under IMAGES, its true class, then class and confidence of the top-k
classes. The true class is known if folders have the names of classes of the checkpoint, of the config or of ImageNet
(n01440764). If no class names are known, as many folders as classes are the classes in their order. Where it is known,
top-1 is printed.
--list takes only the images of a list of `mmtl start`: a path and a class index in each line. Images that
cannot be decoded are listed on standard error and have no row.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

from mmtl.utils.cli import (
    add_classifier_arguments,
    add_out_argument,
    check_classifier_arguments,
    check_minimum,
    resolve_device,
)
from mmtl.utils.text import in_line


def main(parser: ArgumentParser, arguments: list[str]) -> None:
    """Write one table."""
    add_classifier_arguments(parser, "folder of images, searched with its subfolders")
    add_out_argument(parser, "CSV file to write")
    parser.add_argument("--list", type=Path, dest="list_file", metavar="FILE", help="list of the images to classify")
    parser.add_argument("--topk", type=int, help="classes per image (default: 5, or all if there are fewer)")
    parser.add_argument("--wrong-only", action="store_true", help="only images whose top-1 class is not the folder's")
    args = parser.parse_args(arguments)
    check_classifier_arguments(args)
    check_minimum(args, 1, "topk")
    resolve_device(args)
    from mmtl.apis.predict import predict

    found = predict(**vars(args))
    for key in found.undecodable:
        print(in_line(f"WARNING: {args.images / key} cannot be decoded"), file=sys.stderr)
    note = f", top-1 {100 * found.correct / found.labeled:.2f} % of {found.labeled} images" if found.labeled else ""
    note += f", {len(found.undecodable)} images could not be decoded" if found.undecodable else ""
    print(f"{args.out}: {found.rows} {'wrong predictions' if args.wrong_only else 'images'}{note}")
