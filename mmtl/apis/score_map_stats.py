"""Report the quality of an annotator's score maps: accuracy, calibration, agreement with another annotator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmtl.score_maps import ScoreMapStore
from mmtl.score_maps.agreement import agreement
from mmtl.score_maps.class_subset import subset_of
from mmtl.score_maps.class_table import INDICES, ClassTable
from mmtl.score_maps.stats import StoreStats, sample_keys, store_stats
from mmtl.utils.image_files import class_folders
from mmtl.utils.text import in_line

if TYPE_CHECKING:
    from mmtl.annotators.annotator import Annotator

STATS_SAMPLE = 10_000  # maps


def print_stats(
    store: Sequence[Path],
    sample: int = STATS_SAMPLE,
    *,
    out: Path | None = None,
    against: Sequence[str] | None = None,
    images: Path | None = None,
    input_size: Sequence[int] | None = None,
    device: str = "cpu",
) -> None:
    """Print pooled top-1, entropy, calibration and agreement with the class folders, for a sample of maps.

    Args:
        store: folders that are read as one store.
        sample: number of maps.
        out: image file for the reliability plot; None draws none.
        against: folders of another store, or config and checkpoint of an annotator, with which maps are compared.
        images: image root, for an annotator.
        input_size: side, or height and width, at which the annotator reads images; None: that of the store, or its own
            if the store does not record one.
        device: device of the annotator.
    """
    opened = ScoreMapStore(store)
    keys = sample_keys(opened, sample)
    numbers = store_stats(opened, keys)
    table = ClassTable.of(opened.annotator, opened.num_classes)
    print(f"{numbers.maps} maps: entropy of a cell {numbers.entropy:.3f} nats (uniform: ln K)")
    print(f"probability of a cell's top-1 class {numbers.confidence:.3f}")
    frequent = (f"{table.name(index)} {100 * share:.1f} %" for index, share in numbers.frequent)
    print(in_line(f"most frequent top-1 classes of cells: {', '.join(frequent)}"))
    if numbers.top1 is None:
        print(
            "top-1 of pooled maps: unknown, as class folders must have names of the annotator's classes, or be"
            f" {opened.num_classes} if it knows none"
        )
    else:
        _print_accuracy(numbers, opened.num_classes)
    if out is not None:
        _save_reliability(numbers, out)
    if against:
        _print_agreement(opened, keys, against, images, input_size, device)


def _print_accuracy(numbers: StoreStats, num_classes: int) -> None:
    """Print the comparison of maps with their class folders."""
    known = "" if numbers.labelled == numbers.maps else f" of the {numbers.labelled} maps whose class folder is known"
    print(f"top-1 of pooled maps {100 * numbers.top1:.2f} %{known} (chance {100 / num_classes:.2f} %)")
    print(f"cells whose top-1 class is the folder's {100 * numbers.agreeing_cells:.2f} %")
    pooled, cells = numbers.pooled_reliability.error, numbers.cell_reliability.error
    print(f"expected calibration error of pooled maps {100 * pooled:.2f} %, of cells {100 * cells:.2f} %")


def _save_reliability(numbers: StoreStats, out: Path) -> None:
    """Draw accuracy over probability of pooled maps and of cells."""
    from mmtl.visualization.figures import save_figure
    from mmtl.visualization.reliability import draw_reliability

    if numbers.top1 is None:
        raise ValueError(f"{out}: a reliability plot needs class folders that are known classes.")
    panels = {"pooled maps": numbers.pooled_reliability, "cells": numbers.cell_reliability}
    save_figure(draw_reliability(panels), out)
    print(out)


def _print_agreement(
    store: ScoreMapStore,
    keys: Sequence[str],
    against: Sequence[str],
    images: Path | None,
    input_size: Sequence[int] | None,
    device: str,
) -> None:
    """Print how maps agree with those of another store, or of an annotator that recomputes them."""
    if Path(against[0]).is_dir():
        other = ScoreMapStore(against)
        keys = [key for key in keys if key in other]
        others = map(other.__getitem__, keys)
        num_classes, description, coverage = other.num_classes, other.annotator, other.coverage
    else:
        from mmtl.annotators.compare import annotated_maps

        annotator, size_hw = _load_annotator(store, against, images, input_size, device)
        print(f"{against[0]} reads the images at {' x '.join(map(str, size_hw))} pixels (H x W)")
        num_classes, description, coverage = annotator.output_shape(size_hw)[1], annotator.description, "whole"
        others = annotated_maps(annotator, images, keys, size_hw, min(store.topk, num_classes))
    if (num_classes, coverage) != (store.num_classes, store.coverage):
        raise ValueError(
            f"{against[0]} must have {store.num_classes} classes and the coverage {store.coverage!r} as {store.path}, "
            f"got {num_classes} and {coverage!r}. --classes makes maps of a part of the classes."
        )
    own = ClassTable.of(store.annotator, num_classes, class_folders(list(store)))
    moved = ClassTable.of(description, num_classes).moved(own.names or own.folders or ())
    if moved or not keys:
        reason = f"the class {moved[0][0]!r} has another index there" if moved else "no image has maps in both"
        raise ValueError(f"{against[0]} cannot be compared with {store.path}: {reason}.")
    found = agreement(zip((store[key] for key in keys), others, strict=True), num_classes)
    print(f"{found.maps} maps compared with {against[0]}: {100 * found.same_maps:.2f} % have the same pooled class")
    print(f"cells of the same top-1 class {100 * found.same_cells:.2f} %")
    quantiles = ", ".join(f"{value:.3f}" for value in found.quantiles)
    print(f"total variation distance of cells: mean {found.distance:.3f}, 10 %, 50 % and 90 % quantiles {quantiles}")


def _load_annotator(
    store: ScoreMapStore, against: Sequence[str], images: Path | None, input_size: Sequence[int] | None, device: str
) -> tuple[Annotator, tuple[int, int]]:
    """Return an annotator of the classes of a store, and its input size, by default that of the store."""
    from mmengine.logging import MMLogger

    from mmtl.annotators.annotator import Inference
    from mmtl.annotators.load import load_annotator

    MMLogger.get_current_instance().setLevel("WARNING")
    if images is None or len(against) > 2:
        raise ValueError("--against must be the folder of a store, or CONFIG CHECKPOINT with the images in --images.")
    annotator = load_annotator(against[0], (*against[1:], None)[0], device, Inference())
    size_hw = (input_size and (2 * [*input_size])[:2]) or store.preprocessing.get("input_hw") or annotator.size_hw
    if size_hw is None:
        raise ValueError(f"{against[0]} has no input size. Give --input-size.")
    num_classes = annotator.output_shape(tuple(size_hw))[1]
    if store.annotator.get(INDICES) and num_classes != store.num_classes:
        annotator = annotator.with_classes(subset_of(store.annotator, num_classes))
    return annotator, tuple(size_hw)
