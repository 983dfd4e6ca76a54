"""Export a classifier or a segmentor to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import load_weights
from mmtl.utils.config_file import name_config_errors, read_config


def export_onnx(
    config: Path, target: Path, checkpoint: Path | None = None, image_size: Sequence[int] | None = None
) -> tuple[int, int]:
    """Export the model of a config; only the batch size stays variable.

    Args:
        config: config of a classifier or a segmentor.
        target: ONNX file, which is written atomically.
        checkpoint: weights; None exports random ones.
        image_size: side, or height and width, in pixels; None takes that of the test windows or of the backbone.

    Returns:
        Height and width of the exported model's input.

    Raises:
        ModuleNotFoundError: The packages of the extra ``onnx`` are not installed.
        OSError: A file cannot be read or written.
        ValueError: The config has no such model, or checkpoint or image size do not fit it.
    """
    with name_config_errors(config):
        cfg = load_config(config)
        image_hw = resolve_image_hw(cfg, image_size)
        model = build_model(cfg, checkpoint)
    write_onnx(model, target, image_hw, cfg.model.backbone.get("in_channels", 3))
    return image_hw


def load_config(path: Path) -> Config:
    """Read the config of a classifier or a segmentor."""
    config = read_config(path)
    if "backbone" not in config.get("model", {}):
        raise ValueError(f"{path} has no model with a backbone. Give the config of a classifier or a segmentor.")
    return config


def resolve_image_hw(config: Config, image_size: Sequence[int] | None) -> tuple[int, int]:
    """Return the given image size, or that of a segmentor's test windows, or that of the backbone."""
    size = image_size or (config.model.get("test_cfg") or {}).get("crop_size") or config.model.backbone.get("img_size")
    if size is None:
        raise ValueError("The config's backbone has no img_size. Give --image-size.")
    sides = (size,) if isinstance(size, int) else tuple(size)
    if len(sides) > 2:
        raise ValueError(f"--image-size must be one side, or H and W, got {' '.join(map(str, sides))}.")
    return sides[0], sides[-1]


def build_model(config: Config, checkpoint: Path | None) -> nn.Module:
    """Return the config's classifier or segmentor in evaluation mode, on the CPU."""
    scope = config.get("default_scope", "mmpretrain")
    init_default_scope(scope)
    model = MODELS.build(config.model)
    if checkpoint is not None:
        load_weights(model, checkpoint)
    return (SegmentorLogits(model) if scope == "mmseg" else model).eval()


class SegmentorLogits(nn.Module):
    """The logits of MMSegmentation's ``EncoderDecoder`` at the size of its input."""

    def __init__(self, segmentor: nn.Module) -> None:
        super().__init__()
        self.segmentor = revert_sync_batchnorm(segmentor)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K, H, W] of images [B, 3, H, W]."""
        return self.segmentor.encode_decode(images, [dict(img_shape=tuple(images.shape[-2:]))])


def write_onnx(model: nn.Module, target: Path, image_hw: tuple[int, int], channels: int = 3) -> None:
    """Trace a model that maps images [B, C, H, W] to logits and write it."""
    images = torch.zeros(2, channels, *image_hw)
    model(images)  # reports a size that the model refuses with the model's own message
    try:
        program = torch.onnx.export(
            model,
            (images,),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}. Install it with: pip install onnx onnxscript") from error
    with atomic_file(target) as part:
        program.save(part)
