"""Configs of tiny annotators, and batches as a data loader returns them."""

from pathlib import Path

import torch
from mmpretrain.registry import MODELS, TRANSFORMS
from torch import nn

from mmtl.models import collate_training_batch

CNN_CONFIG = """
model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(mean=[120.0, 110, 100], std=[60.0, 55, 50], to_rgb=True),
    backbone=dict(type="ResNet_CIFAR", depth=18, stem_channels=8, base_channels=8, out_indices=(2,), num_stages=3,
                  strides=(1, 2, 2), dilations=(1, 1, 1)),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes={classes}, in_channels=32, init_cfg=dict(type="Normal", layer="Linear",
              std=0.2)),
)
test_pipeline = [{resize}]
"""
ARCH = dict(embed_dims=12, num_layers=1, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=1)


def write_cnn(folder: Path, classes: int = 3, size: int | None = None) -> str:
    """Write the config of a small CNN of stride 4, with a test size or without one, and return its path."""
    resize = "" if size is None else f"dict(type='Resize', scale={size})"
    path = folder / "cnn.py"
    path.write_text(CNN_CONFIG.replace("{classes}", str(classes)).replace("{resize}", resize))
    return str(path)


def student(annotator: dict | None, classes: int = 3, seed: int = 0, **preprocessor: object) -> nn.Module:
    """Return a small classifier of 8 x 8 tokens for images of 32 x 32 pixels."""
    torch.manual_seed(seed)
    model = MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=dict(type="mmtl.LVViT", arch=ARCH, img_size=32, patch_size=4),
            head=dict(type="mmtl.TokenLabelHead", num_classes=classes, in_channels=12),
            data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True, **preprocessor),
            annotator=annotator,
        )
    )
    model.init_weights()
    return model.train()


def load_batch(steps: list[dict], paths: list[Path], classes: int | None = None) -> dict[str, torch.Tensor]:
    """Return the batch of image files after some steps of a training pipeline."""
    pipeline = [dict(type="mmtl.LoadImageFromFile"), *steps, dict(type="mmtl.PackTokenLabelInputs", data_sample=False)]
    built = [TRANSFORMS.build(step) for step in pipeline]
    samples = []
    for index, path in enumerate(paths):
        sample = dict(img_path=str(path), gt_label=index % 3)
        for step in built:
            sample = step(sample)
        samples.append(sample)
    return collate_training_batch(samples, classes)
