"""Resize images to the annotator's input size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
import torch
from torch.utils.data import Dataset

from mmtl.utils.read_image import read_image


@dataclass(frozen=True)
class Squash:
    """How an image becomes the annotator's input: decoded as BGR, then the whole of it resized.

    Attributes:
        size_hw: Input size in pixels.
        interpolation: Name that mmcv.imresize takes, such as "bicubic".
        backend: Resize backend of mmcv, "cv2" or "pillow".
    """

    size_hw: tuple[int, int]
    interpolation: str = "bilinear"
    backend: str = "cv2"

    def __call__(self, path: Path) -> np.ndarray | None:
        """uint8 [H, W, 3] BGR, or None when the file is no image that can be decoded."""
        image = read_image(path)
        if image is None or image.shape[:2] == self.size_hw:
            return image
        return mmcv.imresize(image, self.size_hw[::-1], interpolation=self.interpolation, backend=self.backend)


class SquashedImages(Dataset):
    """Images by their position in a list of keys.

    Args:
        root: Image root.
        keys: Image paths under the root.
        squash: What is done to an image.
    """

    def __init__(self, root: Path, keys: Sequence[str], squash: Squash) -> None:
        self.root, self.keys, self.squash = root, keys, squash

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray | None]:
        return index, self.squash(self.root / self.keys[index])


def collate(
    samples: list[tuple[int, np.ndarray | None]],
) -> tuple[list[int], list[int], torch.Tensor | None]:
    """A batch of the images that could be decoded.

    Returns:
        Indices asked for; indices of the images that could be decoded; their stack, uint8 [B, 3, H, W].
    """
    wanted = [index for index, _ in samples]
    good = [(index, image) for index, image in samples if image is not None]
    if not good:
        return wanted, [], None
    stack = np.stack([image for _, image in good])
    return wanted, [index for index, _ in good], torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()
