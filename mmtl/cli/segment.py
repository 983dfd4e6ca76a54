"""Segment images: a mask of each, an overlay with a legend, and the area of every class.

mmtl segment CONFIG CHECKPOINT IMAGES [IMAGES ...] -o OUT
mmtl segment CONFIG CHECKPOINT photos -o segmented

IMAGES are files and folders, with their subfolders but without masks of images, as in images/ and masks/.
For photos/a/1.jpg, OUT gets
    masks/a/1.png      the class index of every pixel; viewers show the classes' colors (at most 256 classes)
    overlays/a/1.png   the colors over the image, beside it the classes with their shares
    areas.csv          one row per image: file, width, height, and the share of each class, summing to one
OUT must be new, empty, or of an earlier run on the same images, which is replaced.
CHECKPOINT may be `random`, to try a config. Test size and windows are those of the config.
"""

from argparse import ArgumentParser
from pathlib import Path

from mmtl.utils.cli import add_config_arguments, add_device_argument, add_out_argument, resolve_device
from mmtl.utils.text import in_line

SHOWN = 10  # images that are listed when they could not be segmented


def main(parser: ArgumentParser, arguments: list[str]) -> None:
    """Segment images; an error at the end lists those that could not be."""
    add_config_arguments(parser, "a segmentation config")
    parser.add_argument("checkpoint", help="its weights: a file, a URL, or `random`")
    parser.add_argument("images", type=Path, nargs="+", help="image files and folders of them")
    add_out_argument(parser, "folder to write")
    parser.add_argument("--opacity", type=float, default=0.5, help="of the colors, 0 to 1 (default: %(default)s)")
    add_device_argument(parser)
    args = parser.parse_args(arguments)
    resolve_device(args)
    from mmtl.apis.segment import segment

    count, failures = segment(**vars(args))
    if count:
        print(f"{args.out}: {count} image{'s' * (count != 1)} segmented, see overlays/, masks/ and areas.csv in it")
    if failures:
        lines = [in_line(f"{path}: {reason}") for path, reason in list(failures.items())[:SHOWN]]
        raise ValueError("\n  ".join([f"{len(failures)} of {count + len(failures)} images were left out:", *lines]))
