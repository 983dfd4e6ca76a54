"""Affine warps of a batch on the device, as ``cv2.warpAffine`` with a constant border computes them."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmtl.utils.to_device import constant, to_device


def warp(images: Tensor, draws: np.ndarray, mode: str) -> Tensor:
    """Warp images, each by its own affine map and with its own fill color.

    Args:
        images: uint8 or float32 [n, C, H, W].
        draws: :data:`DRAW` [n] with ``affine`` and ``fill``; unless C is 3, its first value serves all channels.
        mode: 'nearest', 'bilinear' or 'bicubic'.

    Returns:
        Tensor: like the images.
    """
    fill = np.ascontiguousarray(draws["fill"] if images.shape[1] == 3 else draws["fill"][:, :1])
    fill = to_device(fill[..., None, None], images.device)
    grid = sampling_grid(draws["affine"], images)
    # grid_sample pads with zeros, so the fill color is moved to zero and back.
    warped = F.grid_sample(images - fill, grid, mode=mode, padding_mode="zeros", align_corners=False)
    warped = warped + fill
    return warped.round().clamp(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else warped


def sampling_grid(affines: np.ndarray, images: Tensor) -> Tensor:
    """Return the grid of ``grid_sample``, float32 [n, H, W, 2], of maps between unit squares [n, 2, 3].

    Not by ``affine_grid``: its matrix product would run in TF32 where that is allowed, too coarse for coordinates.
    """
    height, width = images.shape[2:]
    linear, offset = affines[..., :2], affines[..., 2]
    # From [0, 1] to [-1, 1] on both sides: n = 2 u - 1.
    offset = linear.sum(axis=-1) + 2 * offset - 1
    parts = np.stack([linear[..., 0], linear[..., 1], offset])[:, :, None, None]  # [3, n, 1, 1, 2]
    along_x, along_y, offset = to_device(parts.astype(np.float32), images.device).unbind()
    x = constant(pixel_centers(width), (width, 1), torch.float32, images.device)
    y = constant(pixel_centers(height), (height, 1, 1), torch.float32, images.device)
    return offset.addcmul(along_y, y).addcmul(along_x, x)


def pixel_centers(size: int) -> tuple[float, ...]:
    """Return the pixel centers between -1 and 1."""
    return tuple((2 * pixel + 1) / size - 1 for pixel in range(size))
