"""Station 2: one sample, an image with its score map and the geometry applied to it."""

from mmtl.datasets.transforms.corrupt import Corrupt
from mmtl.datasets.transforms.formatting import PackTokenLabelInputs
from mmtl.datasets.transforms.load_image_from_file import LoadImageFromFile
from mmtl.datasets.transforms.load_score_map import LoadScoreMap
from mmtl.datasets.transforms.processing import CenterCrop, Pad, RandomFlip, RandomResizedCrop, Resize, ResizeEdge
from mmtl.datasets.transforms.rand_augment import RandAugment, Rotate, Shear, Translate
from mmtl.datasets.transforms.random_erasing import RandomErasing

__all__ = [
    "CenterCrop",
    "Corrupt",
    "LoadImageFromFile",
    "LoadScoreMap",
    "PackTokenLabelInputs",
    "Pad",
    "RandAugment",
    "RandomErasing",
    "RandomFlip",
    "RandomResizedCrop",
    "Resize",
    "ResizeEdge",
    "Rotate",
    "Shear",
    "Translate",
]
