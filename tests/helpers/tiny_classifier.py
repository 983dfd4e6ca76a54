"""A token label classifier of 4 x 6 patches and seven classes, and validation images for it."""

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

ARCH = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=1)


def classifier(beta: float = 0.5, backbone: dict | None = None) -> nn.Module:
    """The classifier in evaluation mode, with random weights."""
    torch.manual_seed(0)
    config = dict(
        type="mmtl.TokenLabelClassifier",
        backbone=backbone or dict(type="mmtl.LVViT", arch=ARCH, img_size=(16, 24), patch_size=4),
        head=dict(type="mmtl.TokenLabelHead", num_classes=7, in_channels=12, beta=beta),
        data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True, token_stride=4),
    )
    return MODELS.build(config).eval()


class Images(list):
    """A validation set of five images, BGR, 16 x 24 pixels."""

    metainfo = dict(classes=[f"kind {label}" for label in range(7)])

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (5, 3, 16, 24), dtype=torch.uint8, generator=generator)
        super().__init__(
            dict(inputs=image, data_samples=DataSample().set_gt_label(label)) for label, image in enumerate(images)
        )
