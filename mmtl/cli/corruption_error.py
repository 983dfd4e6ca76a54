"""Measure a classifier on corrupted images: ImageNet-C, or corruptions made from clean images.

    mmtl corruption_error CONFIG CHECKPOINT data/imagenet-c -o errors.csv
    mmtl corruption_error CONFIG CHECKPOINT data/imagenet/val -o errors.csv

IMAGES has ImageNet-C's layout, <corruption>/<severity>/<class>/, or class folders of clean images, to which the 15
corruptions of the benchmark are applied at the network's input size (pip install imagecorruptions-imaug). The table
has the top-1 error of each corruption and severity in percent; the plot is beside it. For ImageNet the column CE is
the error in units of AlexNet's (Hendrycks and Dietterich, ICLR 2019), and its mean is the mean corruption error.
"""

from argparse import ArgumentParser

from mmtl.utils.cli import (
    add_classifier_arguments,
    add_out_argument,
    check_classifier_arguments,
    resolve_device,
)


def main(parser: ArgumentParser, arguments: list[str]) -> None:
    """Write table and plot, and print the table."""
    add_classifier_arguments(parser, "ImageNet-C, or clean images in class folders")
    add_out_argument(parser, "CSV file to write (default: %(default)s)", "corruption_error.csv")
    parser.add_argument("--corruptions", nargs="+", metavar="NAME", help="only these, such as fog or saturate")
    parser.add_argument("--severities", nargs="+", type=int, choices=range(1, 6), help="default: all five")
    args = parser.parse_args(arguments)
    check_classifier_arguments(args)
    if args.out.suffix == ".png":
        raise ValueError(f"--out must be the CSV file, got {args.out}. The plot is written beside it.")
    resolve_device(args)
    from mmtl.apis.corruption_error import corruption_error

    rows = corruption_error(**vars(args))
    for name, *cells in rows:
        print(f"{name:20}" + "".join(f"{cell:>7}" for cell in cells))
    print(f"{args.out}, {args.out.with_suffix('.png')}")
