"""Look at, check and move stores of score maps.

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
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmtl.annotators.annotator import Inference
from mmtl.annotators.compare import compare_store
from mmtl.annotators.load import load_annotator
from mmtl.score_maps import ScoreMapStore
from mmtl.score_maps.archive import export_archive, image_keys, import_archive
from mmtl.score_maps.stats import sample_keys, store_stats
from mmtl.score_maps.transfer import merge_stores, split_store
from mmtl.utils.tensor_bytes import tensor_from_bytes, tensor_to_bytes
from mmtl.visualization.score_maps import draw_maps

TOLERATED_DIFFERENCE = 0.01  # mean absolute difference of probabilities that other hardware may cause


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int | None], name: str, text: str) -> Callable:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub.add_argument

    add = command(info, "info", "What a store holds.")
    add("store", type=Path, nargs="+", help="one folder or several that belong together")

    add = command(verify, "verify", "Checksums, counts, class range, NaN; exit code 1 when something is wrong.")
    add("store", type=Path, nargs="+")
    add("--against", nargs="+", metavar=("CONFIG", "CHECKPOINT"), help="recompute a sample with this annotator")
    add("--images", type=Path, help="image root, for --against")
    add("--sample", type=int, default=64, help="maps to recompute (default 64)")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")

    add = command(show, "show", "Picture of images with their score maps.")
    add("store", type=Path)
    add("keys", nargs="+", metavar="KEY")
    add("--images", type=Path, help="image root")
    add("--classes", type=Path, help="class names, one a line (default: those of the annotator)")
    add("-o", "--out", type=Path, default=Path("score_maps.png"))

    add = command(stats, "stats", "Pooled top-1, entropy, share of cells that agree with the class folder.")
    add("store", type=Path, nargs="+")
    add("--sample", type=int, default=10_000, help="maps to look at (default 10000)")

    add = command(import_, "import", "Turn a released archive of .pt files into a store; continues when stopped.")
    add("archive", type=Path, help="folder or tar(.gz) of <class>/<stem>.pt")
    add("store", type=Path)
    add("--num-classes", type=int, default=1000)
    add("--images", type=Path, help="image root, to know the images' extensions")
    add("--suffix", default=".JPEG", help="extension of the images without --images (default .JPEG)")
    add("--transposed", action="store_true", help="the maps' last two axes are (w, h)")
    add("--jobs", type=int, default=1, help="processes that decode")
    add("--score-bits", type=int, default=16, choices=(8, 16), help="8: compact form")

    add = command(export, "export", "Write a store as .pt files in the released form.")
    add("store", type=Path)
    add("folder", type=Path)

    add = command(merge, "merge", "One store of several: parts of one, or of different images.")
    add("stores", type=Path, nargs="+")
    add("out", type=Path)

    add = command(split, "split", "Deal a store's shards out to OUT-0, OUT-1, ...")
    add("store", type=Path)
    add("out", type=Path)
    add("--parts", type=int, required=True)
    return parser.parse_args()


def check_numbers(arguments: argparse.Namespace) -> None:
    """Refuse counts that are none.

    Raises:
        ValueError: A number is below 1.
    """
    for name in ("sample", "num_classes", "jobs", "parts"):
        if getattr(arguments, name, 1) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(arguments, name)}: at least 1 is wanted.")


def info(arguments: argparse.Namespace) -> None:
    """What a store holds."""
    store = ScoreMapStore(arguments.store)
    height, width = store.grid_hw
    print(f"{len(store)} maps of {height} x {width} cells, top {store.topk} of {store.num_classes} classes")
    print(f"scores: logits in {store.score_bits} bits, log_norm: {'yes' if store.has_log_norm else 'no'}")
    for name, value in {**store.annotator, **store.preprocessing}.items():
        if name == "class_names":
            value = f"{len(value)} names" if value else "unknown"
        print(f"{name}: {value}")
    shards = [shard for folder in store.folders for shard in folder.manifest.shards]
    print(f"{len(shards)} shards, {sum(shard.bytes for shard in shards) / 1e6:.1f} MB")
    print(f"{len(store.missing_shards)} shards are not there, {len(store.undecodable)} images were undecodable")


def verify(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a problem is found."""
    store = ScoreMapStore(arguments.store)
    problems = store.verify()
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems in {len(store)} maps" if problems else f"{len(store)} maps: whole")
    if arguments.against and not problems:
        return _verify_against(store, arguments)
    return 1 if problems else 0


def _verify_against(store: ScoreMapStore, arguments: argparse.Namespace) -> int:
    if arguments.images is None or len(arguments.against) > 2:
        raise ValueError("--against takes CONFIG CHECKPOINT (or timm/NAME WEIGHTS), and --images the image root.")
    seen = store.preprocessing
    if "input_hw" not in seen:
        raise ValueError(f"{store.path} does not say how its images were prepared: it was imported.")
    config, weights = arguments.against[0], (arguments.against[1:] or [None])[0]
    amp = getattr(torch, seen["amp"]) if seen["amp"] else None
    inference = Inference(crops=seen["crops"], flip=seen["flip"], amp=amp)
    annotator = load_annotator(config, weights, arguments.device, inference, tuple(seen["input_hw"]))
    if annotator.description["weights_sha256"] != store.annotator.get("weights_sha256"):
        print(f"The weights are not those that the store was made with ({store.annotator.get('name')}).")
    result = compare_store(store, annotator, arguments.images, sample_keys(store, arguments.sample))
    print(
        f"{result.maps} maps recomputed: mean absolute difference of probabilities"
        f" {result.probability_difference:.2e}, class indices that differ {100 * result.class_mismatch:.2f} %"
    )
    return 1 if result.probability_difference > TOLERATED_DIFFERENCE else 0


def show(arguments: argparse.Namespace) -> None:
    """Draw and save."""
    store = ScoreMapStore(arguments.store)
    names = store.annotator.get("class_names")
    if arguments.classes is not None:
        names = arguments.classes.read_text().splitlines()
    draw_maps(store, arguments.keys, arguments.images, names).savefig(arguments.out, dpi=100)
    print(arguments.out)


def stats(arguments: argparse.Namespace) -> None:
    """Print the numbers."""
    store = ScoreMapStore(arguments.store)
    print_stats(store, arguments.sample)


def print_stats(store: ScoreMapStore, sample: int) -> None:
    """Numbers of a sample of maps."""
    numbers = store_stats(store, sample_keys(store, sample))
    print(f"{numbers.maps} maps: entropy of a cell {numbers.entropy:.3f} nats (uniform: ln K)")
    print(f"probability of a cell's first class {numbers.confidence:.3f}")
    if numbers.top1 is None:
        print(f"top-1 of pooled maps: not known, there are no {store.num_classes} class folders")
        return
    print(f"top-1 of pooled maps {100 * numbers.top1:.2f} % (chance {100 * numbers.chance:.2f} %)")
    print(f"cells whose first class is the folder's {100 * numbers.agreeing_cells:.2f} %")


def import_(arguments: argparse.Namespace) -> None:
    """Import, then compare pooled top-1 with the class folders."""
    columns = (TextColumn("maps"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("", total=None)
        found = import_archive(
            arguments.archive,
            arguments.store,
            arguments.num_classes,
            read_tensor=tensor_from_bytes,
            key_of=image_keys(arguments.images, arguments.suffix),
            transposed=arguments.transposed,
            jobs=arguments.jobs,
            score_bits=arguments.score_bits,
            on_batch=lambda count: progress.advance(task, count),
        )
    store = ScoreMapStore(arguments.store)
    print(f"{len(store)} maps imported" + (f", {found} of them before" if found else ""))
    print_stats(store, 10_000)
    print("A top-1 near chance says that classes or folders are in another order.")


def export(arguments: argparse.Namespace) -> None:
    """Export."""
    store = ScoreMapStore(arguments.store)
    with Progress() as progress:
        task = progress.add_task("maps", total=len(store))
        export_archive(store, arguments.folder, write_tensor=tensor_to_bytes, on_map=lambda: progress.advance(task))


def merge(arguments: argparse.Namespace) -> None:
    """Merge."""
    merge_stores(arguments.stores, arguments.out)
    print(f"{len(ScoreMapStore(arguments.out))} maps in {arguments.out}")


def split(arguments: argparse.Namespace) -> None:
    """Split."""
    for target in split_store(arguments.store, arguments.out, arguments.parts):
        print(f"{len(ScoreMapStore(target))} maps in {target}")


def main() -> int:
    """Exit code of the command."""
    arguments = parse_arguments()
    MMLogger.get_current_instance().setLevel("WARNING")
    try:
        check_numbers(arguments)
        return arguments.run(arguments) or 0
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyError as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
