"""Read images at the annotator's input size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mmcv
import numpy as np
import torch
from torch.utils.data import Dataset

from mmtl.utils.read_image import image_size, read_image


@dataclass(frozen=True)
class ResizeToInput:
    """Read an image and resize it to the input size without keeping the aspect ratio: a map covers the full image.

    Interpolation and backend are those of `mmcv.imresize`, ``loading`` the options of `read_image`.
    """

    size_hw: tuple[int, int]
    interpolation: str
    backend: str
    loading: Mapping[str, str | None] = field(default_factory=dict)
    channels: int = 3

    def __call__(self, path: Path) -> np.ndarray | None:
        """Return the image, uint8 [H, W, 3] BGR or as ``loading`` gives it, or None if the file cannot be decoded.

        Raises:
            ValueError: It has another number of channels than the annotator takes.
        """
        image = read_image(path, **self.loading)
        if image is None:
            return None
        found = image.shape[2] if image.ndim == 3 else 1
        if found != self.channels:
            raise ValueError(f"{path}: the annotator takes images of {self.channels} channels, got {found}.")
        if image.shape[:2] != self.size_hw:
            options = dict(interpolation=self.interpolation, backend=self.backend)
            image = mmcv.imresize(image, self.size_hw[::-1], **options)
        return image.reshape(*self.size_hw, found)  # the resize drops a single channel


def common_size(root: Path, keys: Sequence[str], annotator: str) -> tuple[int, int]:
    """Return the size (H, W) of all images, which an annotator without a Resize in its config takes.

    Raises:
        ValueError: Images differ in size, or none can be read.
    """
    sizes: dict[tuple[int, int], str] = {}
    for key in keys:
        if size := image_size(root / key):
            sizes.setdefault(size[::-1], key)
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
    """Return the indices of all samples, those of the decoded images, and their stack [B, C, H, W]."""
    images = {index: image for index, image in samples if image is not None}
    stack = to_batch(np.stack(list(images.values()))) if images else None
    return [index for index, _ in samples], list(images), stack


def to_batch(images: np.ndarray) -> torch.Tensor:
    """Return images [B, H, W, C] as a tensor [B, C, H, W]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
