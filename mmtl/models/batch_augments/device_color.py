"""Color operations of RandAugment for a batch, equal to those of mmcv.

Images are uint8 [n, 3, H, W], BGR; pixels are theirs as int64 [n, 3, H * W].
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmtl.utils.augment_draws import Operation
from mmtl.utils.to_device import constant, to_device

# OpenCV's weights of blue, green and red in a gray pixel, in fixed point.
GRAY_BGR, GRAY_BITS = (3735, 19235, 9798), 15


def look_up(images: Tensor, draws: np.ndarray) -> Tensor:
    """Apply the operations that map gray levels: one table of 256 entries per image and channel.

    Args:
        images: uint8 [n, 3, H, W].
        draws: :data:`DRAW` [n], sorted by operation.

    Returns:
        Tensor: uint8 [n, 3, H, W].
    """
    levels = constant(range(256), (256,), torch.int64, images.device)
    counts = [int((draws["operation"] == operation).sum()) for operation in TABLES_OF_IMAGES]
    counts = [len(draws) - sum(counts), *counts]  # operations with fixed tables have the lower numbers
    pixels = images.flatten(2).long()
    rows, parts = np.split(draws, np.cumsum(counts[:-1])), pixels.split(counts)
    tables = [to_device(fixed_tables(rows[0])[:, None].repeat(3, axis=1), images.device)]
    for make, row, part in zip(TABLES_OF_IMAGES.values(), rows[1:], parts[1:], strict=True):
        if len(part):
            tables.append(make(part, row, levels))
    return torch.cat(tables).gather(2, pixels).view_as(images)


def fixed_tables(draws: np.ndarray) -> np.ndarray:
    """Return the tables that do not depend on the image, uint8 [n, 256], on the host."""
    levels = np.arange(256, dtype=np.float32)
    operation, value, threshold = (draws[name][:, None] for name in ("operation", "value", "threshold"))
    step = 2 ** (8 - value)
    solarized_add = np.where(levels < threshold, np.minimum(levels + value, 255), levels)
    tables = np.select(
        [
            operation == Operation.INVERT,
            operation == Operation.POSTERIZE,
            operation == Operation.SOLARIZE,
            operation == Operation.SOLARIZE_ADD,
            operation == Operation.BRIGHTNESS,
        ],
        [
            255 - levels,
            levels // step * step,
            np.where(levels < threshold, levels, 255 - levels),
            solarized_add,
            levels * value,
        ],
        levels,
    )
    return tables.clip(0, 255).astype(np.uint8)


def auto_contrast_tables(pixels: Tensor, draws: np.ndarray, levels: Tensor) -> Tensor:
    """Return tables that stretch each channel to the full range, uint8 [n, 3, 256]."""
    low, high = pixels.aminmax(dim=2, keepdim=True)
    white = constant((255,), (), torch.float64, pixels.device)  # ``255 / tensor`` would multiply by the reciprocal
    scale = white / (high.double() - low)
    stretched = (levels * scale - low * scale).clamp(0, 255)
    return torch.where(high > low, stretched, levels).to(torch.uint8)


def equalize_tables(pixels: Tensor, draws: np.ndarray, levels: Tensor) -> Tensor:
    """Return tables that flatten each channel's histogram, uint8 [n, 3, 256]."""
    histogram = pixels.new_zeros((*pixels.shape[:2], 256))
    histogram.scatter_add_(2, pixels, constant((1,), (1, 1, 1), torch.int64, pixels.device).expand_as(pixels))
    brightest = histogram.gather(2, pixels.amax(2, keepdim=True))
    step = (pixels.shape[2] - brightest) // 255
    darker = histogram.cumsum(2) - histogram
    flattened = ((darker + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, flattened, levels).to(torch.uint8)


def contrast_tables(pixels: Tensor, draws: np.ndarray, levels: Tensor) -> Tensor:
    """Return tables that blend with the mean gray level, uint8 [n, 3, 256]."""
    # A mean of integers: the order of summation does not matter.
    mean = gray(pixels[..., None]).mean((1, 2, 3), dtype=torch.float64).round()
    blended = blend(levels, mean.float().view(-1, 1, 1), draws)
    return blended.clamp(0, 255).to(torch.uint8).expand(-1, 3, -1)


TABLES_OF_IMAGES: dict[Operation, Callable[[Tensor, np.ndarray, Tensor], Tensor]] = {
    Operation.AUTO_CONTRAST: auto_contrast_tables,
    Operation.EQUALIZE: equalize_tables,
    Operation.CONTRAST: contrast_tables,
}


def color(images: Tensor, draws: np.ndarray) -> Tensor:
    """Blend each image with its gray image."""
    return blend(images, gray(images), draws).round().clamp(0, 255).to(torch.uint8)


def sharpness(images: Tensor, draws: np.ndarray) -> Tensor:
    """Blend each image with itself smoothed by the kernel (1 1 1, 1 5 1, 1 1 1) / 13."""
    pixels = images.float()
    box = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="reflect"), 3, stride=1, divisor_override=1)
    smooth = (box.add(pixels, alpha=4) / 13).round()
    return blend(images, smooth, draws).clamp(0, 255).to(torch.uint8)


def gray(images: Tensor) -> Tensor:
    """Return the gray levels of BGR images as OpenCV computes them, int32 [n, 1, H, W]."""
    weights = constant(GRAY_BGR, (3, 1, 1), torch.int32, images.device)
    return (images * weights).sum(1, keepdim=True, dtype=torch.int32).add(2 ** (GRAY_BITS - 1)) >> GRAY_BITS


def blend(first: Tensor, second: Tensor, draws: np.ndarray) -> Tensor:
    """Return value * first + rest * second in float32, rounded as OpenCV's addWeighted with fused multiply-add.

    The product of two float32 numbers is exact in float64, so rounding the sum once is what the instruction does.

    Args:
        first: integers, broadcastable with ``second``.
        second: integers or float32 [n, ...].
        draws: :data:`DRAW` [n] with ``value`` and ``rest``.
    """
    shape = (-1,) + (1,) * (second.ndim - 1)
    value = to_device(draws["value"].reshape(shape).astype(np.float64), second.device)
    rest = to_device(draws["rest"].reshape(shape), second.device)
    return (first * value + second * rest).float()
