from mmtl.datasets.load_score_map import LoadScoreMap
from mmtl.datasets.moving import CenterCrop, Pad, RandomFlip, RandomResizedCrop, Resize, ResizeEdge
from mmtl.datasets.pack_token_label_inputs import PackTokenLabelInputs

__all__ = [
    "CenterCrop",
    "LoadScoreMap",
    "Pad",
    "PackTokenLabelInputs",
    "RandomFlip",
    "RandomResizedCrop",
    "Resize",
    "ResizeEdge",
]
