"""Stations 3 to 5: a batch on the device, from the data preprocessor to the loss."""

from mmtl.models.batch_augments import CutMix, MixToken
from mmtl.models.build_segmentor import build_segmentor
from mmtl.models.classifier import TokenLabelClassifier
from mmtl.models.collate import collate_training_batch
from mmtl.models.data_preprocessor import TokenLabelDataPreprocessor
from mmtl.models.head import TokenLabelHead
from mmtl.models.lvvit import LVViT, SideLayers
from mmtl.models.timm_backbone import TimmBackbone
from mmtl.models.volo import VOLO

__all__ = [
    "VOLO",
    "CutMix",
    "LVViT",
    "MixToken",
    "SideLayers",
    "TimmBackbone",
    "TokenLabelClassifier",
    "TokenLabelDataPreprocessor",
    "TokenLabelHead",
    "build_segmentor",
    "collate_training_batch",
]
