"""Recomputing score maps and comparing them with a store."""

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
    """How far a store is from what an annotator says now.

    Attributes:
        maps: Maps compared.
        probability_difference: Mean absolute difference of the probabilities of the kept classes.
        class_mismatch: Share of kept class indices that differ.
    """

    maps: int
    probability_difference: float
    class_mismatch: float


def compare_maps(stored: ScoreMap, fresh: ScoreMap, num_classes: int) -> tuple[float, float]:
    """Mean absolute difference of probabilities and share of differing indices, place by place."""
    difference = cell_probabilities(stored, num_classes) - cell_probabilities(fresh, num_classes)
    return float(np.abs(difference).mean()), float((stored.classes != fresh.classes).mean())


def compare_store(store: ScoreMapStore, annotator: Annotator, images: Path, keys: Sequence[str]) -> Comparison:
    """Annotate some images anew and compare.

    Raises:
        FileNotFoundError: An image is missing.
        ScoreMapStoreError: An image cannot be decoded, or the annotator gives other maps than the store holds.
    """
    squash = annotator.squash(tuple(store.preprocessing["input_hw"]))
    differences = []
    for key in keys:
        image = squash(images / key)
        if image is None:
            raise ScoreMapStoreError(f"{images / key} cannot be decoded.")
        logits = annotator.logits(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])
        if (*logits.shape[1:3], logits.shape[3]) != (*store.grid_hw, store.num_classes):
            raise ScoreMapStoreError(
                f"The annotator gives maps of {list(logits.shape[1:])} (h, w, K), the store holds"
                f" {[*store.grid_hw, store.num_classes]}: it is another annotator."
            )
        parts = (part[0].cpu().numpy() for part in top_classes(logits, store.topk))
        scores, classes, log_norm = parts
        fresh = ScoreMap(scores, classes, log_norm if store.has_log_norm else None)
        differences.append(compare_maps(store[key], fresh, store.num_classes))
    probability, mismatch = np.mean(differences, axis=0)
    return Comparison(len(keys), float(probability), float(mismatch))
