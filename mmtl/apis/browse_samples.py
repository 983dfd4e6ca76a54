"""Draw what the training pipeline of a config gives the network, with the label of every token."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS

from mmtl.models.batch_augments.device_augment import augment_images
from mmtl.models.collate import collate_training_batch
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.config_file import read_config
from mmtl.visualization.samples import Sample, draw_samples

FORMATS = (".png", ".jpg", ".pdf", ".svg")


def browse_samples(config: Path, out: Path, count: int = 16, seed: int = 0, cfg_options: dict | None = None) -> int:
    """Draw ``count`` samples of the training set of a config into the image file ``out``, written atomically.

    Returns:
        Number of samples drawn, fewer than ``count`` for a smaller dataset.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The config has no training set or no token labels, or its images cannot be read.
    """
    if out.suffix.lower() not in FORMATS:
        raise ValueError(f"{out}: the file name must end in one of {', '.join(FORMATS)} (-o).")
    cfg = read_config(config, cfg_options)
    if "train_dataloader" not in cfg or "model" not in cfg:
        raise ValueError(f"{config} has no train_dataloader or no model. Give a pretraining config.")
    init_default_scope(cfg.get("default_scope", "mmpretrain"))
    preprocessor = MODELS.build(cfg.model).data_preprocessor
    if not hasattr(preprocessor, "build_targets"):
        name = type(preprocessor).__name__
        raise ValueError(f"{config} trains without token labels: its data preprocessor is a {name}.")
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed)
    try:
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        packed = [dataset[int(index)] for index in np.random.permutation(len(dataset))[:count]]
    except AssertionError as error:  # MMPretrain asserts that folders match the classes, mmcv that images decode
        raise ValueError(str(error)) from error
    figure = draw_samples(label_tokens(preprocessor, packed), dataset.metainfo.get("classes"))
    with atomic_file(out) as part:
        figure.savefig(part, format=out.suffix[1:].lower(), bbox_inches="tight")
    return len(packed)


def label_tokens(preprocessor: torch.nn.Module, packed: Sequence[dict]) -> list[Sample]:
    """Return packed samples with the token targets that training builds from them."""
    batch = collate_training_batch(packed)
    images, data_samples = batch.pop("inputs"), [sample["data_samples"] for sample in packed]
    if "augment" in batch:
        images = augment_images(images, batch["augment"])
    targets = preprocessor.build_targets(batch, tuple(images.shape[-2:])).patch_tokens
    rgb = images.flip(1) if preprocessor.to_rgb else images
    rgb = rgb.permute(0, 2, 3, 1).numpy()
    samples = [Sample(image, data) for image, data in zip(rgb, data_samples, strict=True)]
    if targets is None:
        return samples
    probability, top_class = targets.dense().max(dim=-1)
    top_class[probability < 1.02 / targets.num_classes] = -1  # uniform: outside the image
    grids = [t.unflatten(1, targets.grid_hw).numpy() for t in (top_class, probability, targets.row_weights > 0)]
    return [
        Sample(*sample[:2], targets.grid_hw, *(grid[i] for grid in grids)) if "view_affine" in sample.data else sample
        for i, sample in enumerate(samples)
    ]
