"""A classifier converted to dense prediction, with its own preprocessing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from mmtl.annotators.images import ResizeToInput
from mmtl.score_maps.class_subset import ClassSubset


@dataclass(frozen=True)
class Inference:
    """How the annotator is run."""

    crops: int = 1  # n > 1 also annotates n x n tiles of the image at n times the size, and averages
    flip: bool = False  # average with the mirrored image
    amp: torch.dtype | None = None  # type of mixed precision, None for full precision
    channels_last: bool = False  # memory layout of images and weights

    def describe(self) -> dict[str, Any]:
        """Return the settings that change the maps as plain JSON values."""
        return {"crops": self.crops, "flip": self.flip, "amp": str(self.amp).split(".")[-1] if self.amp else None}


def view_logits(dense: nn.Module, images: torch.Tensor, flip: bool) -> torch.Tensor:
    """Return logits [B, h, w, K] of images [B, 3, H, W], averaged with the mirrored images if ``flip``."""
    logits = dense(images).float()
    return (logits + dense(images.flip(-1)).float().flip(2)) / 2 if flip else logits


def averaged_logits(dense: nn.Module, images: torch.Tensor, crops: int, flip: bool) -> torch.Tensor:
    """Return the logits [B, h, w, K] of images [B, 3, n * H, n * W], averaged over the full image and n x n tiles.

    Convention:
        The tiles' cells are averaged in n x n blocks, so that each block covers the part of the image that one cell
        of the full image covers.
    """
    if crops == 1:
        return view_logits(dense, images, flip)
    full = view_logits(dense, nn.functional.avg_pool2d(images, crops), flip)
    batch, channels, height, width = images.shape
    tiles = images.reshape(batch, channels, crops, height // crops, crops, width // crops)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # [B * n * n, 3, H, W]
    logits = view_logits(dense, tiles, flip)
    cells = logits.reshape(batch, crops, crops, *logits.shape[1:]).transpose(2, 3)  # [B, n, h, n, w, K]
    blocks = cells.reshape(batch, full.shape[1], crops, full.shape[2], crops, -1)
    return (full + blocks.mean(dim=(2, 4))) / 2


def merged_logits(logits: torch.Tensor, indices: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return logits [B, h, w, n] of n new classes, each with the summed probability of the classes it consists of."""
    merged = logits[..., [each[0] for each in indices]]
    for number, each in enumerate(indices):
        if len(each) > 1:
            merged[..., number] = logits[..., each].logsumexp(-1)
    return merged


@dataclass
class Annotator:
    """A dense classifier and how images become its input."""

    dense: nn.Module  # normalized images [B, 3, H, W] -> logits [B, h, w, K]
    normalize: nn.Module  # uint8 BGR images [B, 3, H, W] -> normalized images on the device
    size_hw: tuple[int, int] | None  # input size in pixels, None when the classifier's config does not set it
    interpolation: str  # as mmcv.imresize names it
    backend: str  # of mmcv.imresize, "cv2" or "pillow"
    description: dict[str, Any]  # name, config and weights hash, plain JSON values
    normalization: dict[str, Any]  # mean, std and channel order, plain JSON values
    inference: Inference = field(default_factory=Inference)
    subset: ClassSubset | None = None  # the classes of the output; None: all
    loading: dict[str, str | None] = field(default_factory=dict)  # options of read_image; by default uint8 BGR
    channels: int = 3  # of the images

    def __post_init__(self) -> None:
        if self.inference.channels_last:
            self.dense.to(memory_format=torch.channels_last)

    def with_classes(self, subset: ClassSubset) -> "Annotator":
        """Return an annotator of a part of the classes, which shares its model with this one."""
        return replace(self, subset=subset, description=subset.describe(self.description))

    def resize(self, size_hw: tuple[int, int]) -> ResizeToInput:
        """Return the preprocessing of image files for an input size."""
        crops = self.inference.crops
        input_hw = (crops * size_hw[0], crops * size_hw[1])
        return ResizeToInput(input_hw, self.interpolation, self.backend, self.loading, self.channels)

    @torch.inference_mode()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits float32 [B, h, w, K] of uint8 BGR images [B, 3, n * H, n * W] with n crops per side."""
        return self.training_logits(images)

    @torch.no_grad()
    def training_logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the same as tensors that a training step may use, in the annotator's own precision."""
        inference, images = self.inference, self.normalize(images)
        if inference.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, inference.amp, enabled=inference.amp is not None):
            logits = averaged_logits(self.dense, images, inference.crops, inference.flip)
        return logits if self.subset is None else merged_logits(logits, self.subset.indices)

    def output_shape(self, size_hw: tuple[int, int]) -> tuple[tuple[int, int], int]:
        """Return grid (h, w) and class count K for an input size, found by a trial run.

        Raises:
            ValueError: The classifier does not accept this size or cannot be converted to dense prediction.
        """
        try:
            logits = self.logits(torch.zeros(1, self.channels, *self.resize(size_hw).size_hw, dtype=torch.uint8))
        except (RuntimeError, TypeError, AssertionError, AttributeError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            size = " x ".join(map(str, size_hw))
            raise not_dense(self.description["name"], f"at input size {size}: {reason}") from error
        return (logits.shape[1], logits.shape[2]), logits.shape[3]


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of torch means that memory is exhausted, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def not_dense(model: nn.Module | str, reason: str) -> ValueError:
    """Return the error for a model that does not give logits for every cell."""
    name = model if isinstance(model, str) else type(model).__name__
    return ValueError(f"{name} cannot be converted to dense prediction: {reason}")
