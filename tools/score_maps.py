"""Inspect, verify and convert stores of score maps.

mim run mmtl score_maps info STORE
mim run mmtl score_maps verify STORE [--against CONFIG CHECKPOINT --images ROOT]
mim run mmtl score_maps show STORE KEY ... --images ROOT -o out.png
mim run mmtl score_maps stats STORE
mim run mmtl score_maps import ARCHIVE STORE
mim run mmtl score_maps export STORE FOLDER
mim run mmtl score_maps merge STORE STORE ... OUT
mim run mmtl score_maps split STORE OUT --parts N
"""

import argparse
from pathlib import Path

from mmengine.logging import MMLogger

from mmtl.apis import score_maps
from mmtl.utils.cli import USER_ERRORS, add_device_argument, add_out_argument, check_minimum, run_tool, tool_parser


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; each command's options are the arguments of its function in `run`."""
    parser = tool_parser(__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    sub = command("info", "Print the settings and sizes of a store.")
    sub.add_argument("store", type=Path, nargs="+", help="one folder, or several folders of one store")

    sub = command("verify", "Check checksums, counts, class range, NaN; exit code 1 if there is a problem.")
    sub.add_argument("store", type=Path, nargs="+")
    sub.add_argument("--against", nargs="+", metavar=("CONFIG", "CHECKPOINT"), help="recompute a sample with it")
    sub.add_argument("--images", type=Path, help="image root, for --against")
    sub.add_argument("--sample", type=int, default=64, help="number of maps to recompute (default: %(default)s)")
    add_device_argument(sub)

    sub = command("show", "Save a figure of images with their score maps.")
    sub.add_argument("store", type=Path)
    sub.add_argument("keys", nargs="+", metavar="KEY")
    sub.add_argument("--images", type=Path, help="image root")
    sub.add_argument("--classes", type=Path, help="class names, one per line (default: those of the annotator)")
    add_out_argument(sub, "image file (default: %(default)s)", "score_maps.png")

    sub = command("stats", "Print pooled top-1, entropy, share of cells that agree with the class folder.")
    sub.add_argument("store", type=Path, nargs="+")
    sub.add_argument(
        "--sample", type=int, default=score_maps.STATS_SAMPLE, help="number of maps (default: %(default)s)"
    )

    sub = command("import", "Convert a released archive of .pt files to a store; resumes an unfinished import.")
    sub.add_argument("archive", type=Path, help="folder or tar(.gz) of <class>/<stem>.pt")
    sub.add_argument("store", type=Path)
    sub.add_argument("--num-classes", type=int, default=1000)
    sub.add_argument("--images", type=Path, help="image root, which determines the images' suffixes")
    sub.add_argument("--suffix", default=".JPEG", help="suffix of the images without --images (default: %(default)s)")
    sub.add_argument("--transposed", action="store_true", help="the maps' last two axes are (w, h)")
    sub.add_argument("--jobs", type=int, default=1, help="number of processes that decode")
    sub.add_argument("--score-bits", type=int, default=16, choices=(8, 16), help="8: compact format")

    sub = command("export", "Write a store as .pt files in the released format.")
    sub.add_argument("store", type=Path)
    sub.add_argument("folder", type=Path)

    sub = command("merge", "Merge the parts of a store, or stores of different images.")
    sub.add_argument("stores", type=Path, nargs="+")
    sub.add_argument("out", type=Path)

    sub = command("split", "Distribute a store's shards to OUT-0, OUT-1, ...")
    sub.add_argument("store", type=Path)
    sub.add_argument("out", type=Path)
    sub.add_argument("--parts", type=int, required=True)
    return parser


def run(command: str, args: argparse.Namespace) -> int:
    """Run a command and return the exit code."""
    match command:
        case "info":
            score_maps.print_info(args.store)
        case "verify":
            intact = score_maps.verify(args.store)
            if intact and args.against:
                options = dict(images=args.images, sample=args.sample, device=args.device)
                intact = score_maps.verify_against(args.store, args.against, **options)
            return 0 if intact else 1
        case "show":
            score_maps.show(args.store, args.keys, images=args.images, classes=args.classes, out=args.out)
        case "stats":
            score_maps.print_stats(args.store, args.sample)
        case "import":
            names = ("num_classes", "images", "suffix", "transposed", "jobs", "score_bits")
            score_maps.import_store(args.archive, args.store, **{name: getattr(args, name) for name in names})
        case "export":
            score_maps.export_store(args.store, args.folder)
        case "merge":
            score_maps.merge(args.stores, args.out)
        case "split":
            score_maps.split(args.store, args.out, args.parts)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run a command of the command line and return the exit code."""
    args = make_parser().parse_args(arguments)
    MMLogger.get_current_instance().setLevel("WARNING")
    check_minimum(args, 1, "sample", "num_classes", "jobs", "parts")
    return run(args.command, args)


if __name__ == "__main__":
    run_tool(main, (*USER_ERRORS, KeyError))
