"""Draw what training gives the network: images after augmentation, with the label of every token or pixel.

    mmtl browse_samples CONFIG -n 16 -o samples.png
    mmtl browse_samples CONFIG --cfg-options data_root=/data/imagenet

Each sample appears twice: the image after augmentation under the token grid, and the same image in gray with every
token in the color of its most likely class, more opaque with its probability. Below are the most frequent classes with
their share of the tokens and their mean probability. Tokens that the loss ignores are black, tokens whose label is
uniform (outside the image) have no color. The samples are one batch: MixToken, CutMix and Mixup are applied as in a
step of training, with the probabilities of the config (--seed draws again). For a segmentation config, the crops are
drawn with their masks; ignored pixels are black.
"""

from argparse import ArgumentParser

from mmtl.utils.cli import (
    add_config_arguments,
    add_force_argument,
    add_out_argument,
    check_minimum,
    check_out,
)


def main(parser: ArgumentParser, arguments: list[str]) -> None:
    """Draw one figure."""
    add_config_arguments(parser, "a pretraining or segmentation config")
    add_out_argument(parser, "image file to write (default: %(default)s)", default="samples.png")
    parser.add_argument("-n", "--num-samples", type=int, default=16, help="number of samples (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images and their augmentation")
    add_force_argument(parser)
    args = parser.parse_args(arguments)
    check_out(args, "out", "config")
    check_minimum(args, 1, "num_samples")
    from mmtl.apis.browse_samples import browse_samples

    count = browse_samples(args.config, args.out, args.num_samples, args.seed, args.cfg_options)
    print(f"{args.out.resolve()}: {count} samples")
