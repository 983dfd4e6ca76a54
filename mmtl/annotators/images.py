"""Read images at the annotator's input size."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from mmtl.utils.read_image import read_image


@dataclass(frozen=True)
class ResizeToInput:
    """Read an image and resize it to the input size without keeping the aspect ratio: a map covers the full image.

    Interpolation and backend are those of `mmcv.imresize`.
    """

    size_hw: tuple[int, int]
    interpolation: str
    backend: str

    def __call__(self, path: Path) -> np.ndarray | None:
        """Return the image, uint8 [H, W, 3] BGR, or None if the file cannot be decoded."""
        image = read_image(path)
        if image is None or image.shape[:2] == self.size_hw:
            return image
        return mmcv.imresize(image, self.size_hw[::-1], interpolation=self.interpolation, backend=self.backend)


def common_size(root: Path, keys: Sequence[str], annotator: str) -> tuple[int, int]:
    """Return the size (H, W) of all images, which an annotator without a Resize in its config takes.

    Raises:
        ValueError: Images differ in size, or none can be read.
    """
    sizes: dict[tuple[int, int], str] = {}
    for key in keys:
        with suppress(OSError, Image.DecompressionBombError), Image.open(root / key) as image:  # reads only the header
            sizes.setdefault(image.size[::-1], key)
        if len(sizes) > 1:
            break
    if len(sizes) != 1:
        found = " and ".join(f"{key} of {height} x {width}" for (height, width), key in sizes.items()) or "no image"
        raise ValueError(
            f"{annotator}: its config has no Resize or crop, so images must have one size, got {found}. "
            "Give --input-size."
        )
    return next(iter(sizes))


@dataclass(frozen=True)
class ResizedImages(Dataset):
    """Images at the input size, by their index in a list of keys, which are paths below the root."""

    root: Path
    keys: Sequence[str]
    resize: ResizeToInput

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray | None]:
        return index, self.resize(self.root / self.keys[index])


def collate(samples: list[tuple[int, np.ndarray | None]]) -> tuple[list[int], list[int], torch.Tensor | None]:
    """Return the indices of all samples, those of the decoded images, and their stack, uint8 [B, 3, H, W]."""
    images = {index: image for index, image in samples if image is not None}
    stack = to_batch(np.stack(list(images.values()))) if images else None
    return [index for index, _ in samples], list(images), stack


def to_batch(images: np.ndarray) -> torch.Tensor:
    """Return images [B, H, W, 3] as a tensor [B, 3, H, W]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
