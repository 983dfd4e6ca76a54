"""Small stores, images and annotators for tests of score maps."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmpretrain.registry import MODELS
from torch import nn

from mmtl.annotators.annotator import Annotator, Inference
from mmtl.annotators.dense_mmpretrain import DenseImageClassifier
from mmtl.annotators.load_mmpretrain import Preprocess
from mmtl.score_maps import ScoreMap, ScoreMapWriter

CLASSES = ("ant", "bee", "cat")


def random_map(rng: np.random.Generator, grid_hw=(3, 5), topk=2, num_classes=10, log_norm=True) -> ScoreMap:
    """Return a random score map with scores in descending order."""
    scores = -np.sort(-rng.normal(3, 4, (*grid_hw, topk)), axis=-1).astype(np.float16)
    order = (rng.integers(0, num_classes, (*grid_hw, 1)) + np.arange(topk) * (num_classes // topk)) % num_classes
    norm = (scores[..., 0] + rng.random(grid_hw)).astype(np.float16) if log_norm else None
    return ScoreMap(scores, order.astype(np.uint16 if num_classes <= 65535 else np.uint32), norm)


def write_store(path: Path, count: int, *, shard_bytes=2**28, seed=0, prefix="a", **form) -> dict[str, ScoreMap]:
    """Write a store of random score maps and return them by key."""
    form = {"grid_hw": (3, 5), "topk": 2, "num_classes": 10} | form
    rng = np.random.default_rng(seed)
    bits = form.pop("score_bits", 16)
    maps = {f"{prefix}/{number}.png": random_map(rng, **form) for number in range(count)}
    form.pop("log_norm", None)
    with ScoreMapWriter(path, **form, score_bits=bits, shard_bytes=shard_bytes) as writer:
        for key, score_map in maps.items():
            writer.add(key, score_map)
    return maps


def write_images(root: Path, per_class: int, size_hw=(32, 40), seed=0) -> None:
    """Write random images in one folder per class."""
    rng = np.random.default_rng(seed)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            image = cv2.resize(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8), size_hw[::-1])
            cv2.imwrite(str(root / name / f"{number}.png"), image)


def tiny_classifier(num_classes=3, pooling=True) -> nn.Module:
    """Return a small MMPretrain classifier with random weights."""
    torch.manual_seed(0)
    config = dict(
        type="ImageClassifier",
        data_preprocessor=dict(mean=[120.0, 110, 100], std=[60.0, 60, 60], to_rgb=True),
        backbone=dict(type="ResNet_CIFAR", depth=18, stem_channels=8, base_channels=8, out_indices=(2,), num_stages=3,
                      strides=(1, 2, 2), dilations=(1, 1, 1)),
        neck=dict(type="GlobalAveragePooling") if pooling else None,
        head=dict(type="LinearClsHead", num_classes=num_classes, in_channels=32),
    )  # fmt: skip
    classifier = MODELS.build(config).eval()
    nn.init.normal_(classifier.head.fc.weight)
    return classifier


def tiny_annotator(**inference) -> Annotator:
    """Return an annotator made from the small classifier."""
    classifier = tiny_classifier()
    return Annotator(
        dense=DenseImageClassifier(classifier).eval(),
        normalize=Preprocess(classifier.data_preprocessor),
        size_hw=(32, 32),
        interpolation="bilinear",
        backend="cv2",
        description={"name": "tiny"},
        normalization={"mean": [120.0, 110, 100], "std": [60.0, 60, 60], "to_rgb": True},
        inference=Inference(**inference),
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
