"""A classifier made ready to annotate: kept dense, with its own preprocessing."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from mmtl.annotators.images import Squash


@dataclass(frozen=True)
class Inference:
    """How the annotator is run.

    Attributes:
        crops: n > 1 also annotates n x n tiles of the image at n times the size, and averages.
        flip: Whether to average with the mirrored image.
        amp: Type of mixed precision, None for full precision.
        channels_last: Whether images and weights lie channels-last in memory.
    """

    crops: int = 1
    flip: bool = False
    amp: torch.dtype | None = None
    channels_last: bool = False

    def describe(self) -> dict[str, Any]:
        """What of it changes the maps, in plain JSON values."""
        return {"crops": self.crops, "flip": self.flip, "amp": str(self.amp).split(".")[-1] if self.amp else None}


def view_logits(dense: nn.Module, images: torch.Tensor, flip: bool) -> torch.Tensor:
    """Logits of every cell [B, h, w, K] for images [B, 3, H, W], averaged with the mirrored images if `flip`."""
    logits = dense(images).float()
    return (logits + dense(images.flip(-1)).float().flip(2)) / 2 if flip else logits


def averaged_logits(dense: nn.Module, images: torch.Tensor, crops: int, flip: bool) -> torch.Tensor:
    """Logits of every cell, averaged over the whole image and n x n tiles of it.

    Convention:
        The tiles' cells are averaged in n x n blocks, so each tells of exactly the part of the image that the
        whole image's cell tells of.

    Args:
        dense: Images [B, 3, H, W] -> logits [B, h, w, K].
        images: Normalised images [B, 3, n * H, n * W].
        crops: n.
        flip: Whether to average each view with its mirror image.

    Returns:
        [B, h, w, K].
    """
    if crops == 1:
        return view_logits(dense, images, flip)
    whole = view_logits(dense, nn.functional.avg_pool2d(images, crops), flip)
    batch, channels, height, width = images.shape
    tiles = images.reshape(batch, channels, crops, height // crops, crops, width // crops)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # [B * n * n, 3, H, W]
    logits = view_logits(dense, tiles, flip)
    cells = logits.reshape(batch, crops, crops, *logits.shape[1:]).transpose(2, 3)  # [B, n, h, n, w, K]
    blocks = cells.reshape(batch, whole.shape[1], crops, whole.shape[2], crops, -1)
    return (whole + blocks.mean(dim=(2, 4))) / 2


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
        inference: How it is run.
    """

    dense: nn.Module
    normalise: nn.Module
    size_hw: tuple[int, int] | None
    interpolation: str
    backend: str
    description: dict[str, Any]
    normalisation: dict[str, Any]
    inference: Inference = field(default_factory=Inference)

    def __post_init__(self) -> None:
        if self.inference.channels_last:
            self.dense.to(memory_format=torch.channels_last)

    def squash(self, size_hw: tuple[int, int]) -> Squash:
        """The preprocessing of image files at an input size."""
        crops = self.inference.crops
        return Squash((crops * size_hw[0], crops * size_hw[1]), self.interpolation, self.backend)

    @torch.inference_mode()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of every cell.

        Args:
            images: uint8 BGR images [B, 3, n * H, n * W] with n crops to a side.

        Returns:
            float32 [B, h, w, K].
        """
        inference = self.inference
        images = self.normalise(images)
        if inference.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, inference.amp) if inference.amp else nullcontext():
            return averaged_logits(self.dense, images, inference.crops, inference.flip)

    def output_shape(self, size_hw: tuple[int, int]) -> tuple[tuple[int, int], int]:
        """Grid [h, w] and class count K at an input size, found by a trial run.

        Raises:
            ValueError: The classifier cannot take this size or cannot be kept dense.
        """
        try:
            logits = self.logits(torch.zeros(1, 3, *self.squash(size_hw).size_hw, dtype=torch.uint8))
        except (RuntimeError, TypeError, AssertionError, AttributeError, IndexError) as error:
            name = self.description["name"]
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(f"{name} cannot be kept dense at {size_hw[0]} x {size_hw[1]}: {reason}") from error
        return (logits.shape[1], logits.shape[2]), logits.shape[3]
