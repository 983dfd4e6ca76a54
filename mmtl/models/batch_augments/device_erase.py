"""Random erasing of a batch on the device, with noise that is a function of (seed, channel, pixel)."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmtl.utils.to_device import constant, to_device

WORD = 0xFFFFFFFF


class Normalization(NamedTuple):
    """What was done to the images after the draws were made."""

    mean: np.ndarray  # [C], in the new order of the channels
    std: np.ndarray  # [C]
    to_rgb: bool  # whether the channels were reversed


def erase(images: Tensor, draws: np.ndarray, uniform: bool, normalization: Normalization | None = None) -> Tensor:
    """Fill one box in every image with noise.

    Args:
        images: uint8 [n, 3, H, W], or float32 [n, C, H, W] if they are normalized. If C is not 3, normal noise has
            mean 0 and standard deviation 1 after normalization, or 0 where ``std`` is 0.
        draws: :data:`DRAW` [n] with ``box_xyxy`` and ``seed``, and with ``fill`` and ``std`` for normal noise.
        uniform: whether all gray levels are equally likely, instead of normal noise.
        normalization: of the images; the noise of normalized images is neither rounded nor clipped.

    Returns:
        Tensor: like the images.
    """
    channels = images.shape[1]
    levels = np.stack([draws["fill"], draws["std"]])  # [2, n, 3], offset and scale of the noise
    if channels != 3:
        levels = np.stack([np.zeros((len(draws), channels)), np.repeat(draws["std"][:, :1] > 0, channels, axis=1)])
    if uniform:
        levels[:] = np.array([0, 1])[:, None, None]
    if normalization is not None and (uniform or channels == 3):
        levels = levels[..., ::-1] if normalization.to_rgb else levels
        levels = (levels - np.stack([normalization.mean, np.zeros(3)])[:, None]) / normalization.std
    offset, scale = to_device(levels.astype(np.float32)[..., None, None], images.device).unbind()
    bits = noise_bits(draws["seed"].astype(np.int64), images)
    noise = offset.addcmul((bits >> 24).float() if uniform else standard_normal(bits), scale)
    if normalization is None:
        noise = noise.clamp(0, 255).to(torch.uint8)
    return torch.where(_in_box(draws["box_xyxy"], images), noise, images)


def noise_bits(seeds: np.ndarray, images: Tensor) -> Tensor:
    """Return 32 random bits for each value of the images, int64 [n, 3, H, W].

    Args:
        seeds: int64 [n].
        images: [n, 3, H, W], for shape and device.
    """
    shape = images.shape[1:]
    counter = constant(range(shape.numel()), tuple(shape), torch.int64, images.device)
    key = to_device(mix_bits(seeds).reshape(-1, 1, 1, 1), images.device)
    return mix_bits(counter ^ key)


def mix_bits(words: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """Return a hash of 32-bit words held in int64: xor-shifts and odd multiplications (C. Wellons' lowbias32)."""
    words = (words ^ words >> 16) * 0x7FEB352D & WORD
    words = (words ^ words >> 15) * 0x846CA68B & WORD
    return words ^ words >> 16


def standard_normal(bits: Tensor) -> Tensor:
    """Turn 32 random bits into a normal number, by the inverse of the distribution function; float32."""
    # Odd multiples of 2 ** -23 between -1 and 1, exact in float32.
    symmetric = (bits >> 9).float() * 2**-22 - (1 - 2**-23)
    return symmetric.erfinv() * 2**0.5


def _in_box(boxes_xyxy: np.ndarray, images: Tensor) -> Tensor:
    """Whether a pixel is in its image's box, bool [n, 1, H, W]."""
    x1, y1, x2, y2 = boxes_xyxy.T[..., None]
    x, y = (np.arange(size) for size in (images.shape[3], images.shape[2]))
    columns = to_device(((x1 <= x) & (x < x2))[:, None, None, :], images.device)
    rows = to_device(((y1 <= y) & (y < y2))[:, None, :, None], images.device)
    return columns & rows
