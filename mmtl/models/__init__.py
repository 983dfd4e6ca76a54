"""Stations 3 to 5: what happens to a batch on the device."""

from mmtl.models.batch_augments import CutMix, MixToken
from mmtl.models.classifier import TokenLabelClassifier
from mmtl.models.data_preprocessor import TokenLabelDataPreprocessor
from mmtl.models.head import TokenLabelHead
from mmtl.models.lvvit import LVViT, SideLayers

__all__ = [
    "CutMix",
    "LVViT",
    "MixToken",
    "SideLayers",
    "TokenLabelClassifier",
    "TokenLabelDataPreprocessor",
    "TokenLabelHead",
]
