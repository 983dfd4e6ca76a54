"""Recompute score maps and compare them with a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmtl.annotators.annotator import Annotator
from mmtl.annotators.generate import top_classes
from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.score_maps.stats import cell_probabilities
from mmtl.score_maps.store import ScoreMapStore


@dataclass(frozen=True)
class Comparison:
    """Difference between a store and an annotator's present output.

    Attributes:
        maps: number of maps compared.
        probability_difference: mean absolute difference of the probabilities of the listed (top-k) classes.
        class_mismatch: share of listed class indices that differ.
    """

    maps: int
    probability_difference: float
    class_mismatch: float


def compare_maps(stored: ScoreMap, computed: ScoreMap, num_classes: int) -> tuple[float, float]:
    """Return the mean absolute difference of probabilities and the share of class indices that differ."""
    difference = cell_probabilities(stored, num_classes) - cell_probabilities(computed, num_classes)
    return float(np.abs(difference).mean()), float((stored.classes != computed.classes).mean())


def compare_store(store: ScoreMapStore, annotator: Annotator, images: Path, keys: Sequence[str]) -> Comparison:
    """Annotate images again and compare with their stored maps.

    Raises:
        FileNotFoundError: An image is missing.
        ScoreMapStoreError: An image cannot be decoded, or the annotator's maps have another shape.
    """
    resize = annotator.resize(tuple(store.preprocessing["input_hw"]))
    differences = []
    for key in keys:
        image = resize(images / key)
        if image is None:
            raise ScoreMapStoreError(f"{images / key} cannot be decoded.")
        logits = annotator.logits(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])
        expected = [*store.grid_hw, store.num_classes]
        if list(logits.shape[1:]) != expected:
            raise ScoreMapStoreError(
                f"The annotator's maps must have the store's shape {expected} (h, w, K), got {list(logits.shape[1:])}."
                " The store was made by another annotator."
            )
        scores, classes, log_norm = (part[0].cpu().numpy() for part in top_classes(logits, store.topk))
        computed = ScoreMap(scores, classes, log_norm if store.has_log_norm else None)
        differences.append(compare_maps(store[key], computed, store.num_classes))
    probability, mismatch = np.mean(differences, axis=0)
    return Comparison(len(keys), float(probability), float(mismatch))
