"""Inspect, verify and convert score map stores; each function prints its result."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmtl.annotators.annotator import Inference
from mmtl.annotators.compare import compare_store
from mmtl.annotators.load import load_annotator
from mmtl.score_maps import ScoreMapStore
from mmtl.score_maps.archive import export_archive, image_keys, import_archive
from mmtl.score_maps.stats import sample_keys, store_stats
from mmtl.score_maps.transfer import merge_stores, split_store
from mmtl.utils.tensor_bytes import tensor_from_bytes, tensor_to_bytes
from mmtl.visualization.figures import save_figure
from mmtl.visualization.score_maps import draw_maps

MAX_DIFFERENCE = 0.01  # mean absolute difference of probabilities that other hardware may cause
STATS_SAMPLE = 10_000


def print_info(paths: Sequence[Path]) -> None:
    """Print the settings and sizes of a store, read from one or more folders."""
    store = ScoreMapStore(paths)
    height, width = store.grid_hw
    print(f"{len(store)} maps of {height} x {width} cells, top {store.topk} of {store.num_classes} classes")
    print(f"scores: logits in {store.score_bits} bits, log_norm: {'yes' if store.has_log_norm else 'no'}")
    for name, value in {**store.annotator, **store.preprocessing}.items():
        if name == "class_names":
            value = f"{len(value)} names" if value else "unknown"
        print(f"{name}: {value}")
    shards = [shard for folder in store.folders for shard in folder.manifest.shards]
    print(f"{len(shards)} shards, {sum(shard.bytes for shard in shards) / 1e6:.1f} MB")
    print(f"{len(store.missing_shards)} shards are missing, {len(store.undecodable)} images were undecodable")


def verify(paths: Sequence[Path]) -> bool:
    """Verify a store, print its problems and return whether it is intact."""
    store = ScoreMapStore(paths)
    problems = store.verify()
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems in {len(store)} maps" if problems else f"{len(store)} maps: intact")
    return not problems


def verify_against(
    paths: Sequence[Path], annotator_args: Sequence[str], *, images: Path | None, sample: int, device: str
) -> bool:
    """Recompute a sample of a store's maps, print the difference and return whether it is small.

    Args:
        paths: folders that are read as one store.
        annotator_args: config and checkpoint of the annotator, or only timm/NAME.
        images: image root.
        sample: number of maps.
        device: device of the annotator.

    Raises:
        ValueError: The annotator does not fit the store, or the store does not contain how the images were prepared.
    """
    store = ScoreMapStore(paths)
    if images is None or len(annotator_args) > 2:
        raise ValueError("--against must be CONFIG CHECKPOINT (or timm/NAME WEIGHTS) with the image root in --images.")
    seen = store.preprocessing
    if "input_hw" not in seen:
        raise ValueError(f"{store.path} was imported and does not contain how its images were prepared.")
    config, weights = annotator_args[0], (annotator_args[1:] or [None])[0]
    amp = getattr(torch, seen["amp"]) if seen["amp"] else None
    inference = Inference(crops=seen["crops"], flip=seen["flip"], amp=amp)
    annotator = load_annotator(config, weights, device, inference, tuple(seen["input_hw"]))
    if annotator.description["weights_sha256"] != store.annotator.get("weights_sha256"):
        print(f"The weights differ from those of the store's annotator ({store.annotator.get('name')}).")
    keys = sample_keys(store, sample)
    result = compare_store(store, annotator, images, keys)
    print(
        f"{len(keys)} maps recomputed: mean absolute difference of probabilities"
        f" {result.probability_difference:.2e}, class indices that differ {100 * result.class_mismatch:.2f} %"
    )
    return result.probability_difference <= MAX_DIFFERENCE


def show(path: Path, keys: Sequence[str], *, images: Path | None, classes: Path | None, out: Path) -> None:
    """Save a figure of images with their score maps.

    Args:
        path: folder of the store.
        keys: keys of the images.
        images: image root; None draws only the maps.
        classes: file with one class name per line; None takes the annotator's names.
        out: image file to write.
    """
    store = ScoreMapStore(path)
    names = classes.read_text().splitlines() if classes else store.annotator.get("class_names")
    save_figure(draw_maps(store, keys, images, names), out)
    print(out)


def print_stats(paths: Sequence[Path], sample: int = STATS_SAMPLE) -> None:
    """Print the statistics of a sample of maps."""
    store = ScoreMapStore(paths)
    numbers = store_stats(store, sample_keys(store, sample))
    print(f"{numbers.maps} maps: entropy of a cell {numbers.entropy:.3f} nats (uniform: ln K)")
    print(f"probability of a cell's top-1 class {numbers.confidence:.3f}")
    if numbers.top1 is None:
        print(f"top-1 of pooled maps: unknown, as there are not {store.num_classes} class folders")
        return
    print(f"top-1 of pooled maps {100 * numbers.top1:.2f} % (chance {100 / store.num_classes:.2f} %)")
    print(f"cells whose top-1 class is the folder's {100 * numbers.agreeing_cells:.2f} %")


def import_store(
    archive: Path, path: Path, num_classes: int, *, images: Path | None, suffix: str, **options: Any
) -> None:
    """Import a released archive with a progress bar and print the statistics; see `import_archive`, `image_keys`."""
    with Progress(TextColumn("maps"), MofNCompleteColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task("", total=None)
        found = import_archive(
            archive,
            path,
            num_classes,
            read_tensor=tensor_from_bytes,
            key_of=image_keys(images, suffix),
            on_batch=lambda count: progress.advance(task, count),
            **options,
        )
    print(f"{len(ScoreMapStore(path))} maps imported" + (f", {found} of them before" if found else ""))
    print_stats([path])
    print("A top-1 near chance means that classes or folders are in another order.")


def export_store(path: Path, folder: Path) -> None:
    """Export a store in the released format with a progress bar."""
    store = ScoreMapStore(path)
    with Progress() as progress:
        task = progress.add_task("maps", total=len(store))
        export_archive(store, folder, write_tensor=tensor_to_bytes, on_map=lambda: progress.advance(task))


def merge(paths: Sequence[Path], out: Path) -> None:
    """Merge stores and print the number of maps."""
    merge_stores(paths, out)
    print(f"{len(ScoreMapStore(out))} maps in {out}")


def split(path: Path, out: Path, parts: int) -> None:
    """Split a store and print the number of maps of each part."""
    for target in split_store(path, out, parts):
        print(f"{len(ScoreMapStore(target))} maps in {target}")
