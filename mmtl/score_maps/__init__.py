"""Station 1: the annotator's predictions for every image, on disk (needs NumPy only)."""

from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.score_maps.store import ScoreMapStore
from mmtl.score_maps.writer import ScoreMapWriter

__all__ = ["ScoreMap", "ScoreMapStore", "ScoreMapStoreError", "ScoreMapWriter"]
