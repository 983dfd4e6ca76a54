"""Inspect, verify and convert score map stores; each function prints its result.

A list of stores is a list of folders that are read as one store.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmtl.apis.score_map_stats import print_stats
from mmtl.score_maps import ScoreMapStore
from mmtl.score_maps.archive import ImageKeys, export_archive, guess_num_classes, import_archive
from mmtl.score_maps.class_subset import read_classes, subset_of
from mmtl.score_maps.class_table import INDICES, ClassTable
from mmtl.score_maps.select import select_store
from mmtl.score_maps.stats import sample_keys
from mmtl.score_maps.transfer import merge_stores, split_store
from mmtl.utils.image_files import class_folders
from mmtl.utils.text import in_line

MAX_DIFFERENCE = 0.01  # mean absolute difference of probabilities that other hardware may cause
NUM_WORST = 10  # keys that are listed


def print_info(store: Sequence[Path]) -> None:
    """Print the settings and sizes of a store."""
    opened = ScoreMapStore(store)
    height, width = opened.grid_hw
    print(f"{len(opened)} maps of {height} x {width} cells, top {opened.topk} of {opened.num_classes} classes")
    print(f"region of an image that a map covers: {opened.coverage}")
    print(f"scores: logits in {opened.score_bits} bits, log_norm: {'yes' if opened.has_log_norm else 'no'}")
    for name, value in {**opened.annotator, **opened.preprocessing}.items():
        if name in ("class_names", "class_folders"):
            value = f"{len(value)} names" if value else "unknown"
        if name == INDICES:
            value = f"{sum(map(len, value))} of the annotator's classes"
        print(in_line(f"{name}: {value}"))
    shards = [shard for folder in opened.folders for shard in folder.manifest.shards]
    print(f"{len(shards)} shards, {sum(shard.bytes for shard in shards) / 1e6:.1f} MB")
    print(f"{len(opened.missing_shards)} shards are missing, {len(opened.undecodable)} images were undecodable")


def verify(
    store: Sequence[Path], *, against: Sequence[str] | None, images: Path | None, sample: int, device: str
) -> bool:
    """Check checksums, counts, class range, NaN; exit code 1 if there is a problem.

    Args:
        store: folders that are read as one store.
        against: config and checkpoint of an annotator, or timm/NAME, with which an intact store is compared.
        images: image root, for ``against``.
        sample: number of maps to recompute.
        device: device of the annotator.

    Returns:
        Whether the store is intact and its difference from the annotator's maps is small.
    """
    opened = ScoreMapStore(store)
    problems = opened.verify()
    for problem in problems:
        print(in_line(problem))
    print(f"{len(problems)} problems in {len(opened)} maps" if problems else f"{len(opened)} maps: intact")
    return not problems and (not against or _verify_against(opened, against, images, sample, device))


def _verify_against(
    store: ScoreMapStore, against: Sequence[str], images: Path | None, sample: int, device: str
) -> bool:
    """Recompute a sample of a store's maps, print the difference and return whether it is small."""
    import torch  # here, so that commands that need only NumPy start at once
    from mmengine.logging import MMLogger

    from mmtl.annotators.annotator import Inference
    from mmtl.annotators.compare import compare_store
    from mmtl.annotators.load import load_annotator

    MMLogger.get_current_instance().setLevel("WARNING")
    if images is None or len(against) > 2:
        raise ValueError("--against must be CONFIG CHECKPOINT (or timm/NAME WEIGHTS) with the image root in --images.")
    seen = store.preprocessing
    if "input_hw" not in seen:
        raise ValueError(f"{store.path} was imported and does not contain how its images were prepared.")
    if "selected_from" in store.folders[0].manifest.settings.get("plan", {}):
        raise ValueError(f"{store.path} was made by `select`. Verify the store that it was made from.")
    config, weights = against[0], (against[1:] or [None])[0]
    amp = getattr(torch, seen["amp"]) if seen["amp"] else None
    inference = Inference(crops=seen["crops"], flip=seen["flip"], amp=amp)
    annotator = load_annotator(config, weights, device, inference, tuple(seen["input_hw"]))
    if annotator.description["weights_sha256"] != store.annotator.get("weights_sha256"):
        print(in_line(f"The weights differ from those of the store's annotator ({store.annotator.get('name')})."))
    if store.annotator.get(INDICES):
        num_classes = annotator.output_shape(tuple(seen["input_hw"]))[1]
        annotator = annotator.with_classes(subset_of(store.annotator, num_classes))
    keys = sample_keys(store, sample)
    difference, mismatch, by_key = compare_store(store, annotator, images, keys)
    print(
        f"{len(keys)} maps recomputed: mean absolute difference of probabilities {difference:.2e},"
        f" class indices that differ {100 * mismatch:.2f} %"
    )
    others = {key: value for key, value in by_key.items() if value > MAX_DIFFERENCE}
    for key, value in list(others.items())[:NUM_WORST]:
        print(f"{in_line(key)}: difference {value:.2e}, above {MAX_DIFFERENCE}")
    if others:
        print(f"{len(others)} of {len(keys)} maps are not those of the images and the annotator")
    return not others


def show(store: Path, *, keys: Sequence[str], images: Path | None, classes: Path | None, out: Path) -> None:
    """Save a figure of images with their score maps.

    Args:
        store: folder of the store.
        keys: keys of the images.
        images: image root; None draws only the maps.
        classes: file with one class name per line; None takes the annotator's names.
        out: image file to write.
    """
    from mmtl.visualization.figures import save_figure
    from mmtl.visualization.score_maps import draw_maps

    opened = ScoreMapStore(store)
    folders = class_folders(list(opened))
    table = ClassTable.of(opened.annotator, opened.num_classes, folders)
    names = table.short_names
    if classes:
        names = classes.read_text(encoding="utf-8").splitlines()
        table = ClassTable(opened.num_classes, names, table.folders)
    save_figure(draw_maps(opened, keys, images, names, table.of_folders(folders)), out)
    print(out if images else f"{out}, without the images: --images FOLDER draws them, too")


def import_store(
    archive: Path, store: Path, *, num_classes: int | None, images: Path | None, suffix: str, **options: Any
) -> None:
    """Convert a released archive of .pt files to a store; resume an unfinished import.

    Images and suffix are those of `ImageKeys`, further options those of `import_archive`; the default of
    ``num_classes`` is `guess_num_classes`.
    """
    from mmtl.utils.tensor_bytes import tensor_from_bytes

    if num_classes is None:
        num_classes = guess_num_classes(archive, images, read_tensor=tensor_from_bytes)
        print(f"Number of classes: {num_classes} (--num-classes)")
    with Progress(TextColumn("maps"), MofNCompleteColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task("", total=None)
        found = import_archive(
            archive,
            store,
            num_classes,
            read_tensor=tensor_from_bytes,
            key_of=ImageKeys(images, suffix),
            on_batch=lambda count: progress.advance(task, count),
            **options,
        )
    print(f"{len(ScoreMapStore(store))} maps imported" + (f", {found} of them before" if found else ""))
    print_stats([store])
    print("A top-1 near chance means that classes or folders are in another order.")


def export_store(store: Path, folder: Path) -> None:
    """Write a store as .pt files in the released format."""
    from mmtl.utils.tensor_bytes import tensor_to_bytes

    opened = ScoreMapStore(store)
    with Progress() as progress:
        task = progress.add_task("maps", total=len(opened))
        export_archive(opened, folder, write_tensor=tensor_to_bytes, on_map=lambda: progress.advance(task))
    print(f"{len(opened)} maps in {folder}; `import` reads them with --coverage {opened.coverage}")


def select(store: Path, out: Path, classes: Path) -> None:
    """Write a store of some classes of another one, as far as its maps list them."""
    opened = ScoreMapStore(store)
    subset = read_classes(classes, ClassTable.of(opened.annotator, opened.num_classes, class_folders(list(opened))))
    lost = select_store(store, out, subset)
    selected = ScoreMapStore(out)
    print(f"{len(selected)} maps of {len(subset.indices)} of {opened.num_classes} classes in {out}")
    print(f"cells that list none of these in their top {opened.topk}, so that all are equal there: {100 * lost:.2f} %")
    advice = "no log_norm: train with tail='zero_logit', or make them with `make_score_maps --classes`"
    print(f"The maps have {'log_norm, as those of all classes' if selected.has_log_norm else advice}.")


def merge(stores: Sequence[Path], out: Path) -> None:
    """Merge the parts of a store, or stores of different images."""
    merge_stores(stores, out)
    print(f"{len(ScoreMapStore(out))} maps in {out}")


def split(store: Path, out: Path, parts: int) -> None:
    """Distribute a store's shards to OUT-0, OUT-1, ..."""
    for target in split_store(store, out, parts):
        print(f"{len(ScoreMapStore(target))} maps in {target}")
