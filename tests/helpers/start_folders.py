"""Folders for `mmtl start`, and what its configs describe."""

import zlib
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image


def write_images(folder: str, size: tuple[int, int], masks: np.ndarray | None = None, count: int = 6) -> Path:
    """Write images of classes "a b" and "c" (of two sizes), or images with masks."""
    rng = np.random.default_rng(0)
    for index in range(count):
        for name in ("a b", "c") if masks is None else ("images",):
            path = Path(folder, name, f"{index}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            height, width = size[1] + index % 2, size[0]
            Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(path)
        if masks is not None:
            path = Path(folder, "masks", f"{index}.png")
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.resize(masks, (height, width))).save(path)
    return Path(folder)


def build(config: Path):
    """Return a config with its model and its training and validation set."""
    cfg = Config.fromfile(config)
    registry = __import__(f"{cfg.default_scope}.registry", fromlist=["DATASETS"])
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = registry.MODELS.build(cfg.model)
        loaders = (cfg.train_dataloader, cfg.val_dataloader)
        for loader in loaders:  # the store does not exist yet
            loader.dataset.pipeline = [step for step in loader.dataset.pipeline if step.type != "mmtl.LoadScoreMap"]
        return cfg, model, *(registry.DATASETS.build(loader.dataset) for loader in loaders)


def write(root, *keys, size=(8, 8)):
    """Write blank images, each of another color."""
    for key in keys:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, tuple(zlib.crc32(key.encode()).to_bytes(4)[:3])).save(root / key, format="PNG")
