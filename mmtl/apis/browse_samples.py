"""Draw what training gives the network: images after augmentation, with the label of every token or pixel."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmtl.datasets.dataset_parts import leaf_datasets, score_map_loaders
from mmtl.models.batch_augments.device_augment import augment_images
from mmtl.models.collate import collate_training_batch
from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.utils.class_colors import class_palette
from mmtl.utils.config_file import name_config_errors, read_config
from mmtl.visualization.colors import class_name
from mmtl.visualization.figures import save_figure
from mmtl.visualization.rgb import rgb_of
from mmtl.visualization.samples import Sample, TokenLabels, draw_samples

MIN_SHARE = 0.05  # of a class in a label, to be in the title


def browse_samples(config: Path, out: Path, count: int = 16, seed: int = 0, cfg_options: dict | None = None) -> int:
    """Draw ``count`` samples of the training set of a config into the image file ``out``, written atomically.

    Returns:
        Number of samples drawn, fewer than ``count`` for a smaller dataset.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The config has no training set or no token labels, or its images cannot be read.
    """
    cfg = read_config(config, cfg_options)
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed)
    if "decode_head" in cfg.get("model", {}) and "train_dataloader" in cfg:
        return browse_crops(config, cfg, out, count)
    if "train_dataloader" not in cfg or "model" not in cfg:
        raise ValueError(f"{config} has no train_dataloader or no model. Give a pretraining config.")
    with name_config_errors(config):
        init_default_scope(cfg.get("default_scope", "mmpretrain"))
        preprocessor = MODELS.build(cfg.model).data_preprocessor
    if not hasattr(preprocessor, "build_targets"):
        name = type(preprocessor).__name__
        raise ValueError(
            f"{config} trains without token labels: its data preprocessor is a {name}. Give a config with a "
            "mmtl.TokenLabelDataPreprocessor, such as the student's, 2_student.py of `mmtl start`."
        )
    try:
        with name_config_errors(config):
            dataset = DATASETS.build(cfg.train_dataloader.dataset)
            if preprocessor.annotator_cfg is not None:  # as in training, in place of a store
                for load in chain.from_iterable(map(score_map_loaders, leaf_datasets(dataset))):
                    load.store = None
            packed = draw_packed(dataset, count)
    except AssertionError as error:  # MMPretrain asserts that folders match the classes, mmcv that images decode
        raise ValueError(str(error)) from error
    names = dataset.metainfo.get("classes")
    save_figure(draw_samples(label_tokens(preprocessor, packed, names), names), out)
    return len(packed)


def draw_packed(dataset: Dataset, count: int) -> list[dict]:
    """Return ``count`` samples of a dataset, or all, in random order."""
    return [dataset[int(index)] for index in np.random.permutation(len(dataset))[:count]]


def browse_crops(config: Path, cfg: Config, out: Path, count: int) -> int:
    """Draw ``count`` training samples of a segmentation config with their masks; return their number."""
    with name_config_errors(config):
        init_default_scope(cfg.get("default_scope", "mmseg"))
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        packed = draw_packed(dataset, count)
    names, palette = (dataset.metainfo.get(name) or () for name in ("classes", "palette"))
    if len(palette) < len(names):
        palette = class_palette(len(names))
    to_rgb = (cfg.model.get("data_preprocessor") or {}).get("bgr_to_rgb", True)
    heads = cfg.model.decode_head
    ignored = (heads[-1] if isinstance(heads, list) else heads).get("ignore_index", 255)
    samples = []
    for sample in packed:
        mask = sample["data_samples"].gt_sem_seg.data[0].numpy().astype(np.int64)
        tokens = TokenLabels(np.where(mask == ignored, -1, mask), np.ones(mask.shape), mask != ignored)
        image = rgb_of(sample["inputs"].permute(1, 2, 0).numpy(), to_rgb)
        data = dict(img_path=sample["data_samples"].get("img_path"))
        samples.append(Sample(image, data, tokens, title=f"{mask.shape[0]} x {mask.shape[1]} pixels (H x W)"))
    save_figure(draw_samples(samples, names, np.asarray(palette, np.uint8)), out)
    return len(samples)


def label_tokens(preprocessor: nn.Module, packed: Sequence[dict], names: Sequence[str] | None) -> list[Sample]:
    """Return packed samples, as one batch, with the images and token targets that training makes of them."""
    batch = collate_training_batch(packed)
    is_annotated = preprocessor.annotator_cfg is not None
    if is_annotated:
        batch = preprocessor.annotated(batch)
    images = batch.pop("inputs")
    if "augment" in batch:
        images = augment_images(images, batch["augment"])
    images, mixed = mix_batch(preprocessor, images, preprocessor.build_targets(batch, tuple(images.shape[-2:])))
    targets, titles = mixed.patch_tokens, [None] * len(packed)
    if preprocessor.token_augments is not None:
        titles = [title_of(label, names) for label in mixed.class_token.dense()[:, 0]]
    tokens: list[TokenLabels | None] = [None] * len(packed)
    if targets is not None:
        probability, top_class = targets.dense().max(dim=-1)
        top_class[probability < 1.02 / targets.num_classes] = -1  # uniform: outside the image
        fields = (top_class, probability, targets.row_weights > 0)
        grids = zip(*(field.unflatten(1, targets.grid_hw).numpy() for field in fields), strict=True)
        tokens = [TokenLabels(*grid) for grid in grids]
    rgb = [rgb_of(image, preprocessor.to_rgb) for image in images.permute(0, 2, 3, 1).numpy()]
    data = [sample.get("data_samples", sample) for sample in packed]
    rows = zip(rgb, data, tokens, titles, strict=True)
    return [
        Sample(image, each, labels if is_annotated or "view_affine" in each else None, title)
        for image, each, labels, title in rows
    ]


def mix_batch(preprocessor: nn.Module, images: Tensor, targets: BatchTargets) -> tuple[Tensor, BatchTargets]:
    """Return images [B, C, H, W] and targets after the batch augments; MixToken's tokens are shown as patches."""
    if preprocessor.token_augments is None:
        return images, targets
    mixed, targets, *token_mix = preprocessor.token_augments(images.float(), targets)
    if token_mix:
        mask, partner = token_mix[0]
        stays = mask.unflatten(-1, targets.grid_hw).float().reshape(-1, 1, *targets.grid_hw)
        stays = F.interpolate(stays, size=mixed.shape[-2:], mode="nearest").bool()
        mixed = torch.where(stays, mixed, mixed[partner])
    return (mixed.round().clamp(0, 255) if images.dtype == torch.uint8 else mixed).to(images.dtype), targets


def title_of(label: Tensor, names: Sequence[str] | None) -> str:
    """Return the largest classes of a mixed class label [K] with their shares, or the only one."""
    shares, classes = label.topk(min(2, len(label)))
    total = float(shares[shares >= MIN_SHARE].sum())
    listed = [
        (class_name(index, names, 16), share / total)
        for share, index in zip(shares.tolist(), classes.tolist(), strict=True)
        if share >= MIN_SHARE
    ]
    return ", ".join(f"{name} {share:.0%}" if len(listed) > 1 else name for name, share in listed)
