"""Inspect, verify and convert stores of score maps.

mmtl score_maps info STORE
mmtl score_maps verify STORE [--against CONFIG CHECKPOINT --images ROOT]
mmtl score_maps show STORE KEY ... --images ROOT -o out.png
mmtl score_maps stats STORE [-o reliability.png] [--against OTHER | CONFIG CHECKPOINT --images ROOT]
mmtl score_maps import ARCHIVE STORE
mmtl score_maps export STORE FOLDER
mmtl score_maps select STORE OUT --classes FILE
mmtl score_maps merge STORE STORE ... OUT
mmtl score_maps split STORE OUT --parts N
"""

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from mmtl.apis import score_map_stats, score_maps
from mmtl.score_maps.score_map import COVERAGES
from mmtl.utils.cli import (
    add_device_argument,
    add_force_argument,
    add_out_argument,
    check_input_size,
    check_minimum,
    check_out,
    resolve_device,
)


def add_commands(parser: ArgumentParser) -> None:
    """Add the commands; each command's options are the arguments of its function."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[..., bool | None], *paths: str) -> ArgumentParser:
        text = run.__doc__.splitlines()[0]
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        for path in paths:
            sub.add_argument(path, type=Path)
        return sub

    sub = command("info", score_maps.print_info)
    sub.add_argument("store", type=Path, nargs="+", help="one folder, or several folders of one store")

    sub = command("verify", score_maps.verify)
    sub.add_argument("store", type=Path, nargs="+")
    sub.add_argument("--against", nargs="+", metavar=("CONFIG", "CHECKPOINT"), help="recompute a sample with it")
    sub.add_argument("--images", type=Path, help="image root, for --against")
    sub.add_argument("--sample", type=int, default=64, help="number of maps to recompute (default: %(default)s)")
    add_device_argument(sub)

    sub = command("show", score_maps.show, "store")
    sub.add_argument("keys", nargs="+", metavar="KEY")
    sub.add_argument("--images", type=Path, help="image root")
    sub.add_argument("--classes", type=Path, help="class names, one per line (default: those of the annotator)")
    add_out_argument(sub, "image file (default: %(default)s)", "score_maps.png")
    add_force_argument(sub)

    add_stats_arguments(command("stats", score_map_stats.print_stats))
    add_import_arguments(command("import", score_maps.import_store))
    command("export", score_maps.export_store, "store", "folder")

    sub = command("select", score_maps.select, "store", "out")
    sub.add_argument("--classes", type=Path, required=True, metavar="FILE", help="classes, one a line: name or index")

    sub = command("merge", score_maps.merge)
    sub.add_argument("stores", type=Path, nargs="+")
    sub.add_argument("out", type=Path)

    sub = command("split", score_maps.split, "store", "out")
    sub.add_argument("--parts", type=int, required=True)


def add_stats_arguments(sub: ArgumentParser) -> None:
    """Add the arguments of ``mmtl score_maps stats``."""
    sub.add_argument("store", type=Path, nargs="+")
    default = score_map_stats.STATS_SAMPLE
    sub.add_argument("--sample", type=int, default=default, help="number of maps (default: %(default)s)")
    sub.add_argument("-o", "--out", type=Path, help="image file for a plot of accuracy over probability")
    kinds = "folder of another store, or CONFIG and CHECKPOINT (timm/NAME, lite/NAME) of an annotator, to compare with"
    sub.add_argument("--against", nargs="+", metavar="OTHER", help=kinds)
    sub.add_argument("--images", type=Path, help="image root, for an annotator")
    size = "its input: side, or height and width (default: as of the store)"
    sub.add_argument("--input-size", type=int, nargs="+", metavar="PIXELS", help=size)
    add_device_argument(sub)
    add_force_argument(sub)


def add_import_arguments(sub: ArgumentParser) -> None:
    """Add the arguments of ``mmtl score_maps import``."""
    sub.add_argument("archive", type=Path, help="folder or tar(.gz) of <class>/<stem>.pt")
    sub.add_argument("store", type=Path)
    sub.add_argument(
        "--num-classes",
        type=int,
        help="default: the number of class folders, or 1000 if the maps have larger class indices",
    )
    sub.add_argument("--images", type=Path, help="image root, which determines the images' suffixes")
    sub.add_argument("--suffix", default=".JPEG", help="suffix of the images without --images (default: %(default)s)")
    sub.add_argument(
        "--coverage",
        choices=COVERAGES,
        default="center-square",
        help="region of an image that a map covers: center-square for the authors' generator, which crops the image, "
        "whole for maps written by export from a store of make_score_maps (default: %(default)s)",
    )
    sub.add_argument("--transposed", action="store_true", help="the maps' last two axes are (w, h)")
    sub.add_argument("--jobs", type=int, default=1, help="number of processes that decode")
    sub.add_argument("--score-bits", type=int, default=16, choices=(8, 16), help="8: compact format")


def main(parser: ArgumentParser, arguments: list[str]) -> int:
    """Run a command of the command line and return the exit code."""
    add_commands(parser)
    args = parser.parse_args(arguments)
    check_minimum(args, 1, "sample", "num_classes", "jobs", "parts")
    check_input_size(args)
    if "force" in args:
        inputs = (name for name in ("store", "images", "classes") if isinstance(getattr(args, name, None), Path))
        check_out(args, "out", *inputs)
    if getattr(args, "against", None):
        resolve_device(args)
    options = vars(args)
    run = options.pop("run")
    try:
        return 1 if run(**options) is False else 0
    except KeyError as error:  # a key without a map
        raise ValueError(*error.args) from error
