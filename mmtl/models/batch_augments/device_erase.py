"""Random erasing of a batch on the device, with noise that is a function of (seed, channel, pixel)."""

import numpy as np
import torch
from torch import Tensor

from mmtl.utils.to_device import constant, to_device

WORD = 0xFFFFFFFF


def erase(images: Tensor, draws: np.ndarray, uniform: bool) -> Tensor:
    """Fill one box in every image with noise.

    Args:
        images: uint8 [n, 3, H, W].
        draws: :data:`DRAW` [n] with ``box_xyxy`` and ``seed``, and with ``fill`` and ``std`` for normal noise.
        uniform: whether all gray levels are equally likely, instead of normal noise.

    Returns:
        Tensor: uint8 [n, 3, H, W].
    """
    noise = make_noise(images, draws, uniform).clamp(0, 255).to(torch.uint8)
    return torch.where(_in_box(draws["box_xyxy"], images), noise, images)


def erase_normalized(
    images: Tensor, draws: np.ndarray, uniform: bool, mean: Tensor, std: Tensor, to_rgb: bool
) -> Tensor:
    """Fill one box in every normalized image with noise that is neither rounded nor clipped.

    Args:
        images: float32 [n, 3, H, W], channels in RGB order with ``to_rgb``, else BGR.
        draws: see :func:`erase`.
        uniform: see :func:`erase`.
        mean: [3, 1, 1] of the normalization, as is ``std``, in the order of the images' channels.
        std: [3, 1, 1].
        to_rgb: whether the channels were reversed after the draws were made.
    """
    noise = make_noise(images, draws, uniform)
    noise = ((noise.flip(1) if to_rgb else noise) - mean) / std
    return torch.where(_in_box(draws["box_xyxy"], images), noise, images)


def make_noise(images: Tensor, draws: np.ndarray, uniform: bool) -> Tensor:
    """Return gray levels for every pixel, float32 [n, 3, H, W]: integers if uniform, else normal and unclipped."""
    bits = noise_bits(draws["seed"].astype(np.int64), images)
    if uniform:
        return (bits >> 24).float()
    fill, std = to_device(np.stack([draws["fill"], draws["std"]])[..., None, None], images.device).unbind()
    return fill.addcmul(standard_normal(bits), std)


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
