"""Shrunken segmentation recipes, with synthetic data in the layout that each of them reads."""

import inspect
import re
from pathlib import Path

import cv2
import numpy as np
from helpers.config_steps import tta_views
from helpers.paths import ROOT
from mmengine.config import Config, ConfigDict
from mmseg.registry import DATASETS

from mmtl.models.lvvit.arch import arch_settings

PATHS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.py")
    # Segmentors end in HEIGHTxWIDTH; those of other students have tests of their own, in test_segmentation_students.
    if "_base_" not in path.parts and re.match(r"(lvvit|volo).*-\d+x\d+$", path.stem)
)
WIDTH = 24  # channels of a token in a shrunken recipe


def small_recipe(path: Path, data_root: Path) -> Config:
    """Return a recipe with all its parts and blocks, but few channels, small crops and a few synthetic images."""
    cfg = Config.fromfile(path)
    crop = cfg.model.data_preprocessor.size
    if min(crop) == 512:
        crop = tuple(side // 8 for side in crop)
        set_crop(cfg, crop)
    cfg.model.backbone.init_cfg = None
    shrink_channels(cfg.model)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=min(loader.batch_size, 2), num_workers=0, persistent_workers=False)
        for dataset in loader.dataset.get("datasets", [loader.dataset]):
            dataset.data_root = str(data_root)
            write_images(dataset, cfg.model.decode_head.num_classes)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.work_dir, cfg.experiment_name = str(data_root / "run"), data_root.name
    return cfg


def set_crop(cfg: Config, crop: tuple[int, int]) -> None:
    """Set everything that depends on the crop size, from the resizing of images to the sliding window."""
    cfg.model.data_preprocessor.size = cfg.model.backbone.img_size = crop
    cfg.model.test_cfg.update(crop_size=crop, stride=tuple(side * 2 // 3 for side in crop))
    train = cfg.train_dataloader.dataset
    parts = (*train.get("datasets", [train]), cfg.val_dataloader.dataset)
    steps = [step for part in parts for step in part.pipeline]
    for step in (*steps, *tta_views(cfg)[0]):
        if "scale" in step:
            step.scale = tuple(side // 8 for side in step.scale)
        if "crop_size" in step:
            step.crop_size = crop
        if "ratio_range" in step:
            step.ratio_range = (1.0, 1.0)


def shrink_channels(model: ConfigDict) -> None:
    """Reduce a token's channels to ``WIDTH``, those of the deepest side layer to 32 and all others to 16."""
    if model.backbone.type == "mmtl.VOLO":
        small = {192: 16, 384: WIDTH}
        model.backbone.arch = dict(
            layers=(4, 4, 8, 2), embed_dims=(16, 24, 24, 24), num_heads=(2, 2, 2, 2), stem_hidden_dim=8
        )
    else:
        settings = arch_settings(model.backbone.arch)
        small = {settings["embed_dims"]: WIDTH, 2048: 32}
        model.backbone.arch = dict(settings, embed_dims=WIDTH, num_heads=2, feedforward_channels=48, stem_channels=8)
    necks = model.neck if isinstance(model.neck, list) else [model.neck or {}]
    for part in (*necks, model.decode_head, model.get("auxiliary_head") or {}):
        for key in part.keys() & {"in_channels", "out_channels", "channels", "embed_dim"}:
            width = part[key]
            part[key] = small.get(width, 16) if isinstance(width, int) else [small.get(w, 16) for w in width]


def write_images(dataset: ConfigDict, num_classes: int, count: int = 2) -> None:
    """Write images of vertical stripes colored by class to the folders of a dataset's config."""
    generator = np.random.default_rng(0)
    defaults = inspect.signature(DATASETS.get(dataset.type)).parameters
    suffixes = [dataset[key] if key in dataset else defaults[key].default for key in ("img_suffix", "seg_map_suffix")]
    first = 1 if dataset.type == "mmtl.ADE20KDataset" else 0  # its label 0 is "ignored"
    for index in range(count):
        classes = generator.permutation(num_classes)[:4]
        labels = np.repeat(classes, 20)[None].repeat(64, axis=0)  # [64, 80]
        colors = generator.normal(np.stack([labels * 40 % 256, labels * 90 % 256, labels * 170 % 256], -1), 8)
        image, annotation = colors.clip(0, 255).astype(np.uint8), (labels + first).astype(np.uint8)
        for array, key, suffix in zip((image, annotation), ("img_path", "seg_map_path"), suffixes, strict=True):
            folder = Path(dataset.data_root) / dataset.data_prefix[key]
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{index}{suffix}"), array)
    if dataset.get("ann_file"):
        ann_file = Path(dataset.data_root) / dataset.ann_file
        ann_file.parent.mkdir(parents=True, exist_ok=True)
        ann_file.write_text("".join(f"{index}\n" for index in range(count)))
