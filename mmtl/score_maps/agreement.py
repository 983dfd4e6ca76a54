"""How well the maps of two annotators agree."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mmtl.score_maps.score_map import ScoreMap
from mmtl.score_maps.stats import cell_probabilities, pooled_class

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Agreement:
    """Comparison of two annotators on the same images."""

    maps: int
    same_cells: float  # share of cells with the same top-1 class
    same_maps: float  # share of maps with the same pooled class
    distance: float  # mean total variation distance of the cells' distributions, 0 (equal) to 1
    quantiles: tuple[float, ...]  # of the cells' distances, at QUANTILES


def agreement(pairs: Iterable[tuple[ScoreMap, ScoreMap]], num_classes: int) -> Agreement:
    """Compare pairs of maps of the same image; where grids differ, with the nearest cell of the second map."""
    same_cells, same_maps, distances = [], [], []
    for first, second in pairs:
        same_maps.append(pooled_class(first, num_classes) == pooled_class(second, num_classes))
        second = on_grid(second, first.classes.shape[:2])
        same_cells.append((first.classes[..., 0] == second.classes[..., 0]).mean())
        distances.append(total_variation(first, second, num_classes).ravel())
    cells = np.concatenate(distances)
    quantiles = tuple(np.quantile(cells, QUANTILES).tolist())
    return Agreement(
        len(same_maps), float(np.mean(same_cells)), float(np.mean(same_maps)), float(cells.mean()), quantiles
    )


def on_grid(score_map: ScoreMap, grid_hw: tuple[int, int]) -> ScoreMap:
    """Return the cells of a map that contain the centers of the cells of another grid."""
    rows, columns = (
        ((np.arange(count) + 0.5) * own / count).astype(np.int64)
        for count, own in zip(grid_hw, score_map.classes.shape[:2], strict=True)
    )
    return ScoreMap(*(None if part is None else part[rows[:, None], columns] for part in score_map))


def total_variation(first: ScoreMap, second: ScoreMap, num_classes: int) -> np.ndarray:
    """Return half of the sum of the absolute differences of the cells' probabilities, [h, w].

    Classes that are not listed share the remaining probability equally.
    """
    first, second = (_all_probabilities(each, num_classes) for each in (first, second))
    return np.abs(first - second).sum(axis=-1) / 2


def _all_probabilities(score_map: ScoreMap, num_classes: int) -> np.ndarray:
    """Return the probabilities of all classes, [h, w, K]."""
    listed = cell_probabilities(score_map, num_classes)
    rest = np.clip(1 - listed.sum(axis=-1, keepdims=True), 0, 1) / max(num_classes - listed.shape[-1], 1)
    dense = np.repeat(rest, num_classes, axis=-1)
    np.put_along_axis(dense, score_map.classes.astype(np.int64), listed, axis=-1)
    return dense
