"""Load an MMPretrain classifier as annotator, from its config and checkpoint."""

import hashlib
import json
from pathlib import Path

import torch
from mmengine import Config
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from mmtl.annotators.annotator import Annotator, Inference
from mmtl.annotators.dense_mmpretrain import DenseImageClassifier
from mmtl.annotators.dense_timm import DenseTimmModel
from mmtl.utils.checkpoint import load_weights, state_sha256
from mmtl.utils.config_file import name_config_errors, read_config
from mmtl.utils.imagenet_wnids import wnid_labels
from mmtl.utils.read_image import loading_options
from mmtl.utils.type_name import type_name

RANDOM_WEIGHTS, PRETRAINED = "random", "pretrained"


class Preprocess(nn.Module):
    """Apply a classifier's data preprocessor to images without data samples."""

    def __init__(self, preprocessor: nn.Module) -> None:
        super().__init__()
        self.preprocessor = preprocessor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalize uint8 BGR images [B, 3, H, W], and move them to the device."""
        return self.preprocessor({"inputs": images})["inputs"]


def load_mmpretrain(config: str, checkpoint: str, device: str, inference: Inference) -> Annotator:
    """Load an MMPretrain classifier and convert it to dense prediction; see `mmtl.annotators.load`."""
    from mmpretrain.apis import ModelHub

    entry = None if Path(config).suffix else ModelHub.get(config)
    cfg = entry.config if entry else read_config(Path(config))
    if checkpoint == PRETRAINED:
        checkpoint = entry.weights if entry else None
        if checkpoint is None:
            raise ValueError(
                f"{config}: no pretrained weights are known. Give a checkpoint, or a name of MMPretrain's models that "
                "have weights, such as resnet50_8xb32_in1k."
            )
    torch.manual_seed(0)  # random weights are the same on every rank
    classifier = _build(cfg)
    meta = {}
    if checkpoint == RANDOM_WEIGHTS:
        classifier.init_weights()
    else:
        meta = load_weights(classifier, Path(checkpoint))
    preprocessor = classifier.data_preprocessor.to(device).eval()
    buffers = dict(preprocessor.named_buffers())
    mean, std = (buffers[name].flatten().tolist() if name in buffers else None for name in ("mean", "std"))
    model_text = json.dumps(cfg.model.to_dict(), sort_keys=True, default=str)
    description = {
        "name": Path(config).stem,
        "library": "mmpretrain",
        "config_sha256": hashlib.sha256(model_text.encode()).hexdigest(),
        "checkpoint": Path(checkpoint).name,
        "weights_sha256": state_sha256(classifier),
        **_class_description(cfg, list(meta.get("classes") or ())),
    }
    loading = loading_options(_test_pipeline(cfg))
    with name_config_errors(config):
        size_hw, interpolation, backend = _pipeline_input(cfg)
    is_timm = type(classifier).__name__ == "TimmClassifier"
    dense = DenseTimmModel(classifier.model) if is_timm else DenseImageClassifier(classifier)
    return Annotator(
        dense=dense.to(device).eval(),
        normalize=Preprocess(preprocessor),
        size_hw=size_hw,
        interpolation=interpolation,
        backend=backend,
        description=description,
        normalization={"mean": mean, "std": std, "to_rgb": bool(getattr(preprocessor, "to_rgb", False)), **loading},
        inference=inference,
        loading=loading,
        channels=cfg.model.get("backbone", {}).get("in_channels", 3),
    )


def _build(cfg: Config) -> nn.Module:
    from mmpretrain.registry import MODELS

    name = cfg.filename or "The config"
    if "model" not in cfg:
        raise ValueError(f"{name} has no model.")
    with DefaultScope.overwrite_default_scope("mmpretrain"), name_config_errors(name):
        cfg.model.setdefault("data_preprocessor", cfg.get("data_preprocessor"))
        return MODELS.build(cfg.model).eval()


def _class_description(cfg: Config, names: list[str]) -> dict[str, list[str] | None]:
    """Return the class names, by default ImageNet's for its configs, and wnids if they are ImageNet's."""
    from mmpretrain.datasets import ImageNet

    imagenet = list(ImageNet.METAINFO["classes"])
    if not names and cfg.model.get("head", {}).get("num_classes") == len(imagenet):
        names = imagenet if type_name(_test_dataset(cfg).get("type", "")) in ("ImageNet", "ImageNetFolders") else []
    return {"class_names": names or None} | ({"class_folders": list(wnid_labels())} if names == imagenet else {})


def _pipeline_input(cfg: Config) -> tuple[tuple[int, int] | None, str, str]:
    """Return input size (h, w) (None when images keep their size), interpolation and backend of the test pipeline."""
    size_hw, interpolation, backend = None, "bilinear", "cv2"
    for step in _test_pipeline(cfg):
        kind = type_name(step["type"])
        size = step.get("crop_size", step.get("scale"))
        if kind in ("Resize", "ResizeEdge", "CenterCrop", "EfficientNetCenterCrop") and size is not None:
            width, height = (size, size) if isinstance(size, int) else (size[0], size[-1])
            size_hw = (height, width)
        if kind in ("Resize", "ResizeEdge", "EfficientNetCenterCrop"):
            default = "bicubic" if kind == "EfficientNetCenterCrop" else "bilinear"
            interpolation, backend = step.get("interpolation", default), step.get("backend", "cv2")
    return size_hw, interpolation, backend


def _test_pipeline(cfg: Config) -> list[ConfigDict]:
    return _test_dataset(cfg).get("pipeline") or cfg.get("test_pipeline") or []


def _test_dataset(cfg: Config) -> dict:
    """Return the config of the first test or validation dataset with a pipeline, without wrappers; empty if none."""
    for name in ("test_dataloader", "val_dataloader"):
        dataset = (cfg.get(name) or {}).get("dataset")
        while dataset is not None and "pipeline" not in dataset:
            dataset = dataset.get("dataset")
        if dataset is not None:
            return dataset
    return {}
