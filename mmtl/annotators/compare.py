"""Recompute score maps and compare them with a store."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmtl.annotators.annotator import Annotator
from mmtl.annotators.generate import top_classes
from mmtl.annotators.images import to_batch
from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.score_maps.stats import cell_probabilities
from mmtl.score_maps.store import ScoreMapStore


class Comparison(NamedTuple):
    """Mean absolute difference of the top-k classes' probabilities, and share of class indices that differ."""

    probability_difference: float
    class_mismatch: float
    by_key: dict[str, float]  # difference of each map's probabilities, the largest first


def compare_store(store: ScoreMapStore, annotator: Annotator, images: Path, keys: Sequence[str]) -> Comparison:
    """Annotate images again and compare with their stored maps.

    Raises:
        FileNotFoundError: An image is missing.
        ScoreMapStoreError: An image cannot be decoded, or the annotator's maps have another shape.
    """
    size_hw = tuple(store.preprocessing["input_hw"])
    grid_hw, num_classes = annotator.output_shape(size_hw)
    found, expected = [*grid_hw, num_classes], [*store.grid_hw, store.num_classes]
    if found != expected:
        raise ScoreMapStoreError(
            f"The annotator's maps must have the store's shape {expected} (h, w, K), got {found}."
            " The store was made by another annotator."
        )
    differences, mismatches = [], []
    for key, computed in zip(keys, annotated_maps(annotator, images, keys, size_hw, store.topk), strict=True):
        computed = computed if store.has_log_norm else computed._replace(log_norm=None)
        before, now = (cell_probabilities(each, store.num_classes) for each in (store[key], computed))
        differences.append(np.nan_to_num(np.abs(before - now).mean(), nan=np.inf))  # as of overflows in float16
        mismatches.append((store[key].classes != computed.classes).mean())
    by_key = dict(sorted(zip(keys, map(float, differences), strict=True), key=lambda item: -item[1]))
    return Comparison(float(np.mean(differences)), float(np.mean(mismatches)), by_key)


def annotated_maps(
    annotator: Annotator, images: Path, keys: Sequence[str], size_hw: tuple[int, int], topk: int
) -> Iterator[ScoreMap]:
    """Yield the score maps of images, one by one.

    Raises:
        FileNotFoundError: An image is missing.
        ScoreMapStoreError: An image cannot be decoded.
    """
    resize = annotator.resize(size_hw)
    for key in keys:
        image = resize(images / key)
        if image is None:
            reason = "cannot be decoded" if (images / key).exists() else "is missing"
            raise ScoreMapStoreError(f"{images / key} {reason}.")
        yield ScoreMap(*(part[0].cpu().numpy() for part in top_classes(annotator.logits(to_batch(image[None])), topk)))
