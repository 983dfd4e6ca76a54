"""Read images at the annotator's input size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
import torch
from torch.utils.data import Dataset

from mmtl.utils.read_image import read_image


@dataclass(frozen=True)
class ResizeToInput:
    """Read an image and resize it to the input size without keeping the aspect ratio: a map covers the full image.

    Attributes:
        size_hw: input size in pixels.
        interpolation: name that mmcv.imresize takes, such as "bicubic".
        backend: resize backend of mmcv, "cv2" or "pillow".
    """

    size_hw: tuple[int, int]
    interpolation: str = "bilinear"
    backend: str = "cv2"

    def __call__(self, path: Path) -> np.ndarray | None:
        """Return the image, uint8 [H, W, 3] BGR, or None if the file cannot be decoded."""
        image = read_image(path)
        if image is None or image.shape[:2] == self.size_hw:
            return image
        return mmcv.imresize(image, self.size_hw[::-1], interpolation=self.interpolation, backend=self.backend)


class ResizedImages(Dataset):
    """Images at the input size, by their index in a list of keys.

    Args:
        root: image root.
        keys: image paths below the root.
        resize: reads and resizes an image file.
    """

    def __init__(self, root: Path, keys: Sequence[str], resize: ResizeToInput) -> None:
        self.root, self.keys, self.resize = root, keys, resize

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray | None]:
        return index, self.resize(self.root / self.keys[index])


def collate(samples: list[tuple[int, np.ndarray | None]]) -> tuple[list[int], list[int], torch.Tensor | None]:
    """Stack the images that could be decoded.

    Returns:
        The indices of all samples; those of the decoded images; their stack, uint8 [B, 3, H, W].
    """
    indices = [index for index, _ in samples]
    decoded = [(index, image) for index, image in samples if image is not None]
    if not decoded:
        return indices, [], None
    stack = np.stack([image for _, image in decoded])
    return indices, [index for index, _ in decoded], torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()
