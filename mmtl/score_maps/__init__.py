"""Station 1: what the annotator said about every image, on disk (numpy alone: no registry, no torch)."""

from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.score_maps.store import ScoreMapStore
from mmtl.score_maps.writer import ScoreMapWriter

__all__ = ["ScoreMap", "ScoreMapStore", "ScoreMapStoreError", "ScoreMapWriter"]
