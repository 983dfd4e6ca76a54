"""Make the demo's dataset: textured shapes on textured backgrounds, with class labels and masks.

    mmtl make_demo_data data/demo

A class is a texture on a shape ("striped-ring"); two classes share each shape, and colors and backgrounds are random
and independent of the class. An image has one large object, which is its class label, and smaller ones of other
classes. OUT contains every image twice, in the layouts of ImageNet and ADE20K:

    OUT/classification/{train,val}/<class>/<name>.png
    OUT/segmentation/images/{training,validation}/<name>.png
    OUT/segmentation/annotations/{training,validation}/<name>.png   0 = background, 1... = classes in sorted order
    OUT/demo.json                                                   the settings
"""

from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path

from mmtl.demo.dataset import Settings, make_demo_data


def main(parser: ArgumentParser, arguments: list[str]) -> None:
    """Make the dataset."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help="default: %(default)s")
    args = vars(parser.parse_args(arguments))
    out, settings = args.pop("out"), Settings(**args)
    made = make_demo_data(out, settings)
    counts = f"{settings.num_train} training and {settings.num_val} validation images"
    print(f"{out}: {counts} {'made' if made else 'already exist'}")
