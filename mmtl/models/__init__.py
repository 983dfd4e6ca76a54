"""Stations 3 to 5. The functions token_targets and token_label_loss are imported from the modules of their name."""

from mmtl.models.batch_targets import BatchTargets
from mmtl.models.cut_mix import CutMix
from mmtl.models.data_preprocessor import TokenLabelDataPreprocessor
from mmtl.models.lvvit import LVViT
from mmtl.models.mix_token import MixToken, TokenMix, mix_tokens
from mmtl.models.side_layers import SideLayers
from mmtl.models.token_label_classifier import TokenLabelClassifier
from mmtl.models.token_label_head import TokenLabelHead
from mmtl.models.token_targets import TokenTargets

__all__ = [
    "BatchTargets",
    "CutMix",
    "LVViT",
    "MixToken",
    "SideLayers",
    "TokenLabelClassifier",
    "TokenLabelDataPreprocessor",
    "TokenLabelHead",
    "TokenMix",
    "TokenTargets",
    "mix_tokens",
]
