"""A classifier made ready to annotate: loaded, kept dense, with its own preprocessing."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine import Config
from mmengine.config import ConfigDict
from torch import nn

from mmtl.score_maps.checkpoint import load_weights, state_sha256
from mmtl.score_maps.dense_mmpretrain import DenseImageClassifier
from mmtl.score_maps.images import Squash

RANDOM_WEIGHTS = "random"


@dataclass
class Annotator:
    """What annotates images.

    Attributes:
        dense: Normalised images [B, 3, H, W] -> logits [B, h, w, K].
        normalise: uint8 BGR images [B, 3, H, W] -> normalised images on the device.
        size_hw: Input size in pixels, None when the classifier's config leaves it to the images.
        interpolation: How images are resized.
        backend: Resize backend of mmcv.
        description: Name, config and weights hash, plain JSON values.
        normalisation: Mean, std and channel order, plain JSON values.
    """

    dense: nn.Module
    normalise: Callable[[torch.Tensor], torch.Tensor]
    size_hw: tuple[int, int] | None
    interpolation: str
    backend: str
    description: dict[str, Any]
    normalisation: dict[str, Any]

    def squash(self, size_hw: tuple[int, int]) -> Squash:
        """The preprocessing of image files at an input size."""
        return Squash(size_hw, self.interpolation, self.backend)

    @torch.inference_mode()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of every cell.

        Args:
            images: uint8 BGR images [B, 3, H, W].

        Returns:
            float32 [B, h, w, K].
        """
        return self.dense(self.normalise(images)).float()

    def output_shape(self, size_hw: tuple[int, int]) -> tuple[tuple[int, int], int]:
        """Grid [h, w] and class count K at an input size, found by a trial run.

        Raises:
            ValueError: The classifier cannot take this size or cannot be kept dense.
        """
        try:
            logits = self.logits(torch.zeros(1, 3, *size_hw, dtype=torch.uint8))
        except (RuntimeError, TypeError, AssertionError, AttributeError, IndexError) as error:
            name = self.description["name"]
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(f"{name} cannot be kept dense at {size_hw[0]} x {size_hw[1]}: {reason}") from error
        return (logits.shape[1], logits.shape[2]), logits.shape[3]


def load_annotator(config: str, checkpoint: str, device: str) -> Annotator:
    """An MMPretrain classifier as annotator.

    Args:
        config: Config file, or the name of a model in MMPretrain's zoo.
        checkpoint: Weights file, or "random".
        device: Where it runs.

    Raises:
        FileNotFoundError: Config or checkpoint is missing.
        ValueError: The checkpoint does not fit the config, or the classifier cannot be kept dense.
    """
    from mmpretrain import get_model

    cfg = _read_config(config)
    torch.manual_seed(0)  # random weights are the same in every process
    classifier = get_model(cfg, pretrained=None).eval()
    classes = None
    if checkpoint == RANDOM_WEIGHTS:
        classifier.init_weights()
    else:
        classes = load_weights(classifier, Path(checkpoint))
    preprocessor = classifier.data_preprocessor.to(device).eval()
    weights = state_sha256(classifier)
    model_text = json.dumps(cfg.model.to_dict(), sort_keys=True, default=str)
    description = {
        "name": Path(config).stem,
        "library": "mmpretrain",
        "config_sha256": hashlib.sha256(model_text.encode()).hexdigest(),
        "checkpoint": Path(checkpoint).name,
        "weights_sha256": weights,
        "class_names": list(classes) if classes else None,
    }
    size_hw, interpolation, backend = pipeline_input(cfg)
    return Annotator(
        dense=DenseImageClassifier(classifier).to(device).eval(),
        normalise=lambda images: preprocessor({"inputs": images})["inputs"],
        size_hw=size_hw,
        interpolation=interpolation,
        backend=backend,
        description=description,
        normalisation=_normalisation(preprocessor),
    )


def _read_config(config: str) -> Config:
    if Path(config).is_file():
        try:
            return Config.fromfile(config)
        except (SyntaxError, KeyError, TypeError, OSError) as error:
            raise ValueError(f"{config}: not a readable config: {error}") from error
    if Path(config).suffix:
        raise FileNotFoundError(f"{config}: no such config file.")
    from mmpretrain.apis import ModelHub

    return ModelHub.get(config).config


def _normalisation(preprocessor: nn.Module) -> dict[str, Any]:
    values = {}
    for name in ("mean", "std"):
        buffer = getattr(preprocessor, name, None)
        values[name] = None if buffer is None else buffer.flatten().tolist()
    return values | {"to_rgb": bool(getattr(preprocessor, "to_rgb", False))}


def pipeline_input(cfg: Config) -> tuple[tuple[int, int] | None, str, str]:
    """Input size [h, w] (None when images keep their size), interpolation and backend of the test pipeline."""
    size_hw, interpolation, backend = None, "bilinear", "cv2"
    for step in _test_pipeline(cfg):
        kind = step["type"] if isinstance(step["type"], str) else step["type"].__name__
        kind = kind.split(".")[-1]
        size = step.get("crop_size", step.get("scale"))
        if kind in ("Resize", "ResizeEdge", "CenterCrop", "EfficientNetCenterCrop") and size is not None:
            width, height = (size, size) if isinstance(size, int) else (size[0], size[-1])
            size_hw = (height, width)
        if kind in ("Resize", "ResizeEdge", "EfficientNetCenterCrop"):
            default = "bicubic" if kind == "EfficientNetCenterCrop" else "bilinear"
            interpolation, backend = step.get("interpolation", default), step.get("backend", "cv2")
    return size_hw, interpolation, backend


def _test_pipeline(cfg: Config) -> list[ConfigDict]:
    for name in ("test_dataloader", "val_dataloader"):
        dataset = (cfg.get(name) or {}).get("dataset")
        while dataset is not None and "pipeline" not in dataset:
            dataset = dataset.get("dataset")
        if dataset is not None:
            return dataset["pipeline"]
    return cfg.get("test_pipeline") or []
