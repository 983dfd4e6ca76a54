"""CIFAR-10, or another dataset of small images in class folders, as tensors on one device."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtl.utils.image_files import list_images
from mmtl.utils.read_image import read_image


@dataclass
class Images:
    """Images uint8 [n, 3, H, W] in BGR order, and their classes int64 [n]."""

    pixels: Tensor
    labels: Tensor
    class_names: list[str]

    def to(self, device: str) -> "Images":
        """Return them on a device."""
        return Images(self.pixels.to(device), self.labels.to(device), self.class_names)


def read_folder(folder: Path) -> Images:
    """Read {folder}/{class}/*; all images of one size."""
    keys = list_images(folder)
    names = sorted({Path(key).parts[0] for key in keys})
    pixels = torch.from_numpy(np.stack([read_image(folder / key) for key in keys])).permute(0, 3, 1, 2).contiguous()
    return Images(pixels, torch.tensor([names.index(Path(key).parts[0]) for key in keys]), names)


def draw_views(
    count: int, generator: np.random.Generator, smallest_area: float = 0.5, ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> Tensor:
    """Draw the views of random resized crops and flips of square images, float32 [count, 2, 3], ``view_affine``."""
    area = generator.uniform(smallest_area, 1, count)
    aspect = np.exp(generator.uniform(*np.log(ratio), count))
    size_xy = np.minimum(np.sqrt(np.stack([area * aspect, area / aspect])), 1)  # [2, count]
    left_top = generator.uniform(0, 1 - size_xy)
    flip = generator.random(count) < 0.5
    views = np.zeros((count, 2, 3), np.float32)
    views[:, 0, 0] = np.where(flip, -size_xy[0], size_xy[0])
    views[:, 1, 1] = size_xy[1]
    views[:, 0, 2] = left_top[0] + np.where(flip, size_xy[0], 0)
    views[:, 1, 2] = left_top[1]
    return torch.from_numpy(views)


def crop(pixels: Tensor, views: Tensor) -> Tensor:
    """Cut views [B, 2, 3] out of images uint8 [B, 3, H, W] and resize them to H x W, bilinear."""
    theta = views.to(pixels.device, non_blocking=True)  # unit squares -> the squares from -1 to 1 of grid_sample
    linear = theta[..., :2]
    offset = linear.sum(-1) + 2 * theta[..., 2] - 1
    grid = F.affine_grid(torch.cat([linear, offset.unsqueeze(-1)], -1), list(pixels.shape), align_corners=False)
    cut = F.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)
    return cut.round_().to(torch.uint8)
