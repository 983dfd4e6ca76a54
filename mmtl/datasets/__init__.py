from mmtl.datasets.imagenet_folders import ImageNetFolders
from mmtl.datasets.load_image_from_file import LoadImageFromFile
from mmtl.datasets.load_score_map import LoadScoreMap
from mmtl.datasets.moving import CenterCrop, Pad, RandomFlip, RandomResizedCrop, Resize, ResizeEdge
from mmtl.datasets.pack_token_label_inputs import PackTokenLabelInputs
from mmtl.datasets.rand_augment import RandAugment, Rotate, Shear, Translate
from mmtl.datasets.random_erasing import RandomErasing

__all__ = [
    "CenterCrop",
    "ImageNetFolders",
    "LoadImageFromFile",
    "LoadScoreMap",
    "Pad",
    "PackTokenLabelInputs",
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
