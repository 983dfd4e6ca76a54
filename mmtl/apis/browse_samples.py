"""Draw what the training pipeline of a config gives the network, with the label of every token."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from torch import nn

from mmtl.datasets.dataset_parts import leaf_datasets, score_map_loaders
from mmtl.models.batch_augments.device_augment import augment_images
from mmtl.models.collate import collate_training_batch
from mmtl.utils.config_file import name_config_errors, read_config
from mmtl.visualization.figures import save_figure
from mmtl.visualization.rgb import rgb_of
from mmtl.visualization.samples import Sample, TokenLabels, draw_samples


def browse_samples(config: Path, out: Path, count: int = 16, seed: int = 0, cfg_options: dict | None = None) -> int:
    """Draw ``count`` samples of the training set of a config into the image file ``out``, written atomically.

    Returns:
        Number of samples drawn, fewer than ``count`` for a smaller dataset.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The config has no training set or no token labels, or its images cannot be read.
    """
    cfg = read_config(config, cfg_options)
    if "train_dataloader" not in cfg or "model" not in cfg:
        raise ValueError(f"{config} has no train_dataloader or no model. Give a pretraining config.")
    with name_config_errors(config):
        init_default_scope(cfg.get("default_scope", "mmpretrain"))
        preprocessor = MODELS.build(cfg.model).data_preprocessor
    if not hasattr(preprocessor, "build_targets"):
        name = type(preprocessor).__name__
        raise ValueError(f"{config} trains without token labels: its data preprocessor is a {name}.")
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed)
    try:
        with name_config_errors(config):
            dataset = DATASETS.build(cfg.train_dataloader.dataset)
            if preprocessor.annotator_cfg is not None:  # as in training, in place of a store
                for load in chain.from_iterable(map(score_map_loaders, leaf_datasets(dataset))):
                    load.store = None
            packed = [dataset[int(index)] for index in np.random.permutation(len(dataset))[:count]]
    except AssertionError as error:  # MMPretrain asserts that folders match the classes, mmcv that images decode
        raise ValueError(str(error)) from error
    save_figure(draw_samples(label_tokens(preprocessor, packed), dataset.metainfo.get("classes")), out)
    return len(packed)


def label_tokens(preprocessor: nn.Module, packed: Sequence[dict]) -> list[Sample]:
    """Return packed samples with the token targets that training builds from them."""
    batch = collate_training_batch(packed)
    is_annotated = preprocessor.annotator_cfg is not None
    if is_annotated:
        batch = preprocessor.annotated(batch)
    images = batch.pop("inputs")
    if "augment" in batch:
        images = augment_images(images, batch["augment"])
    targets = preprocessor.build_targets(batch, tuple(images.shape[-2:])).patch_tokens
    tokens: list[TokenLabels | None] = [None] * len(packed)
    if targets is not None:
        probability, top_class = targets.dense().max(dim=-1)
        top_class[probability < 1.02 / targets.num_classes] = -1  # uniform: outside the image
        fields = (top_class, probability, targets.row_weights > 0)
        grids = zip(*(field.unflatten(1, targets.grid_hw).numpy() for field in fields), strict=True)
        tokens = [TokenLabels(*grid) for grid in grids]
    rgb = [rgb_of(image, preprocessor.to_rgb) for image in images.permute(0, 2, 3, 1).numpy()]
    data = [sample.get("data_samples", sample) for sample in packed]
    rows = zip(rgb, data, tokens, strict=True)
    return [
        Sample(image, each, labels if is_annotated or "view_affine" in each else None) for image, each, labels in rows
    ]
