"""Check every image and annotation of a segmentation config before a long run.

mmtl check_segmentation_data CONFIG
mmtl check_segmentation_data CONFIG --jobs 8 --cfg-options data_root=/data/ade

Finds images without annotation and vice versa, unreadable and truncated files, annotations of another size than their
image, in color, or with labels outside the classes (after reduce_zero_label and label map, as the loss sees them),
empty splits, and class counts that do not agree. Prints how often each class occurs. Exit code 1 when there are
problems.
"""

import os
from argparse import ArgumentParser

from mmtl.utils.cli import add_config_arguments, check_minimum

SHOWN = 10  # problems of a kind that are printed without --all


def main(parser: ArgumentParser, arguments: list[str]) -> int:
    """Check the data of a config; exit code 1 when there are problems."""
    add_config_arguments(parser, "a segmentation config")
    parser.add_argument("--jobs", type=int, default=min(8, os.cpu_count() or 1), help="processes that read files")
    parser.add_argument("--all", action="store_true", help=f"print every problem, not {SHOWN} of a kind")
    args = parser.parse_args(arguments)
    check_minimum(args, 1, "jobs")
    from mmtl.apis.check_segmentation import check_segmentation, print_report

    splits = check_segmentation(args.config, args.jobs, args.cfg_options)
    return int(print_report(splits, None if args.all else SHOWN) > 0)
