"""What score maps say: probabilities per cell, agreement with the class folders."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mmtl.score_maps.score_map import ScoreMap
from mmtl.score_maps.store import ScoreMapStore
from mmtl.utils.image_files import class_folders


def cell_probabilities(score_map: ScoreMap, num_classes: int) -> np.ndarray:
    """Probabilities of the kept classes.

    Args:
        score_map: Logits [h, w, k]; without log_norm, absent classes count as logit 0, as in the released code.
        num_classes: K.

    Returns:
        float64 [h, w, k].
    """
    scores = score_map.scores.astype(np.float64)
    if score_map.log_norm is not None:
        return np.exp(np.minimum(scores - score_map.log_norm.astype(np.float64)[..., None], 0))
    absent = num_classes - scores.shape[-1]
    top = np.maximum(scores.max(axis=-1, keepdims=True), 0)
    kept = np.exp(scores - top)
    return kept / (kept.sum(axis=-1, keepdims=True) + absent * np.exp(-top))


def pooled_class(score_map: ScoreMap, num_classes: int) -> int:
    """Class with the largest probability, averaged over the cells."""
    probabilities = cell_probabilities(score_map, num_classes)
    return int(np.bincount(score_map.classes.ravel().astype(np.int64), probabilities.ravel()).argmax())


def entropy(score_map: ScoreMap, num_classes: int) -> float:
    """Mean entropy of the cells in nats, the mass of absent classes spread evenly."""
    kept = cell_probabilities(score_map, num_classes)
    absent = max(num_classes - kept.shape[-1], 0)
    rest = np.clip(1 - kept.sum(axis=-1, keepdims=True), 0, 1) / max(absent, 1)
    values = -(_x_log_x(kept).sum(axis=-1) + absent * _x_log_x(rest)[..., 0])
    return float(values.mean())


def _x_log_x(values: np.ndarray) -> np.ndarray:
    return values * np.log(np.where(values > 0, values, 1))


@dataclass(frozen=True)
class StoreStats:
    """Numbers of a sample of maps.

    Attributes:
        maps: Maps looked at.
        entropy: Mean entropy of their cells in nats.
        confidence: Mean probability of a cell's first class.
        top1: Share of maps whose pooled first class is their folder's; None without K class folders.
        agreeing_cells: Share of cells whose first class is the folder's; None likewise.
        chance: Top-1 of a guess, 1 / K.
    """

    maps: int
    entropy: float
    confidence: float
    top1: float | None
    agreeing_cells: float | None
    chance: float


def store_stats(store: ScoreMapStore, keys: Iterable[str], folders: list[str] | None = None) -> StoreStats:
    """Look at some maps of a store.

    Args:
        store: The store.
        keys: Keys to look at.
        folders: Class folders in the order of the class indices; None takes the store's own, sorted.
    """
    if folders is None:
        folders = class_folders(list(store))
    index = {name: number for number, name in enumerate(folders)} if len(folders) == store.num_classes else {}
    entropies, confidences, hits, agreeing = [], [], [], []
    for key in keys:
        score_map = store[key]
        entropies.append(entropy(score_map, store.num_classes))
        confidences.append(cell_probabilities(score_map, store.num_classes)[..., 0].mean())
        label = index.get(key.split("/")[0])
        if label is not None:
            hits.append(pooled_class(score_map, store.num_classes) == label)
            agreeing.append((score_map.classes[..., 0] == label).mean())
    return StoreStats(
        maps=len(entropies),
        entropy=float(np.mean(entropies)),
        confidence=float(np.mean(confidences)),
        top1=float(np.mean(hits)) if hits else None,
        agreeing_cells=float(np.mean(agreeing)) if agreeing else None,
        chance=1 / store.num_classes,
    )


def sample_keys(store: ScoreMapStore, count: int, seed: int = 0) -> list[str]:
    """Some keys of a store, drawn without repetition, in the store's order."""
    keys = list(store)
    if count >= len(keys):
        return keys
    chosen = np.random.default_rng(seed).choice(len(keys), count, replace=False)
    return [keys[place] for place in np.sort(chosen)]
