"""Statistics of score maps: probabilities per cell, agreement with the class folders."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mmtl.score_maps.calibration import Reliability, ReliabilityCounter
from mmtl.score_maps.class_table import ClassTable
from mmtl.score_maps.score_map import ScoreMap
from mmtl.score_maps.store import ScoreMapStore
from mmtl.utils.image_files import class_folders

NUM_FREQUENT = 5
LARGEST_EQUAL = 1 + 1e-6  # probability * K of a top-1 class above which a cell prefers it to the others


def cell_probabilities(score_map: ScoreMap, num_classes: int) -> np.ndarray:
    """Return the probabilities of the top-k classes, float64 [h, w, k].

    Without log_norm, the other of the `num_classes` classes have logit 0, as in the released code.
    """
    scores = score_map.scores.astype(np.float64)
    if score_map.log_norm is not None:
        return np.exp(np.minimum(scores - score_map.log_norm.astype(np.float64)[..., None], 0))
    absent = num_classes - scores.shape[-1]
    top = np.maximum(scores.max(axis=-1, keepdims=True), 0)
    kept = np.exp(scores - top)
    return kept / (kept.sum(axis=-1, keepdims=True) + absent * np.exp(-top))


def pooled_class(score_map: ScoreMap, num_classes: int) -> int:
    """Return the class with the largest probability, averaged over the cells."""
    return pooled_prediction(score_map, num_classes)[0]


def pooled_prediction(score_map: ScoreMap, num_classes: int) -> tuple[int, float]:
    """Return the class with the largest probability, averaged over the cells, and this probability."""
    probabilities = cell_probabilities(score_map, num_classes)
    sums = np.bincount(score_map.classes.ravel().astype(np.int64), probabilities.ravel())
    return int(sums.argmax()), float(sums.max() / probabilities[..., 0].size)


def entropy(score_map: ScoreMap, num_classes: int) -> float:
    """Return the mean entropy of the cells in nats; classes outside the top k share their mass equally."""
    kept = cell_probabilities(score_map, num_classes)
    absent = max(num_classes - kept.shape[-1], 0)
    rest = np.clip(1 - kept.sum(axis=-1), 0, 1) / max(absent, 1)
    return float(-(_x_log_x(kept).sum(axis=-1) + absent * _x_log_x(rest)).mean())


def _x_log_x(values: np.ndarray) -> np.ndarray:
    return values * np.log(np.where(values > 0, values, 1))


@dataclass(frozen=True)
class StoreStats:
    """Statistics of a sample of maps."""

    maps: int
    labelled: int  # maps whose class folder is a known class, of which the rest are shares
    entropy: float  # mean over the cells, in nats
    confidence: float  # mean probability of a cell's top-1 class
    top1: float | None  # share of maps whose pooled top-1 class is their folder's; None if no class folder is known
    agreeing_cells: float | None  # share of cells whose top-1 class is the folder's; None likewise
    frequent: list[tuple[int, float]]  # most frequent top-1 classes of cells, with share; equal classes are none
    pooled_reliability: Reliability | None  # of the pooled top-1 class; None likewise
    cell_reliability: Reliability | None  # of the cells' top-1 classes, which are right if they are the folder's


def store_stats(store: ScoreMapStore, keys: Iterable[str]) -> StoreStats:
    """Return the statistics of some maps of a store; see `ClassTable.of_folders` for its class folders."""
    num_classes = store.num_classes
    folders = class_folders(list(store))
    labels = ClassTable.of(store.annotator, num_classes, folders).of_folders(folders)
    entropies, confidences, hits, agreeing, cells, count = [], [], [], [], Counter(), 0
    pooled_counter, cell_counter = ReliabilityCounter(), ReliabilityCounter()
    for key in keys:
        score_map = store[key]
        entropies.append(entropy(score_map, num_classes))
        confidence, top1 = cell_probabilities(score_map, num_classes)[..., 0], score_map.classes[..., 0]
        confidences.append(confidence.mean())
        cells.update(top1[confidence * num_classes > LARGEST_EQUAL].tolist())
        count += top1.size
        label = labels.get(key.split("/")[0])
        if label is not None:
            pooled, pooled_confidence = pooled_prediction(score_map, num_classes)
            hits.append(pooled == label)
            agreeing.append((top1 == label).mean())
            pooled_counter.add(np.array(pooled_confidence), np.array(pooled == label))
            cell_counter.add(confidence, top1 == label)
    return StoreStats(
        maps=len(entropies),
        labelled=len(hits),
        entropy=float(np.mean(entropies)),
        confidence=float(np.mean(confidences)),
        top1=float(np.mean(hits)) if hits else None,
        agreeing_cells=float(np.mean(agreeing)) if agreeing else None,
        frequent=[(index, each / count) for index, each in cells.most_common(NUM_FREQUENT)],
        pooled_reliability=pooled_counter.result(),
        cell_reliability=cell_counter.result(),
    )


def sample_keys(store: ScoreMapStore, count: int) -> list[str]:
    """Return a random sample of a store's keys without repetition, in the store's order."""
    keys = list(store)
    if count >= len(keys):
        return keys
    chosen = np.random.default_rng(0).choice(len(keys), count, replace=False)
    return [keys[position] for position in np.sort(chosen)]
