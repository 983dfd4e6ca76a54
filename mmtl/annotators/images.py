"""Finding the images under a root and squashing them to the annotator's input size."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
import torch
from torch.utils.data import Dataset

from mmtl.score_maps.score_map import want_utf8

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def list_images(root: Path) -> list[str]:
    """Keys of all images under a root: relative POSIX paths, sorted.

    Raises:
        FileNotFoundError: The root is missing, holds no image, or one of its folders holds none.
        OSError: A folder cannot be read.
        ValueError: An image's name is not UTF-8.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such image folder.")
    keys = [path for path in files_under(root) if path.lower().endswith(IMAGE_SUFFIXES)]
    if not keys:
        raise FileNotFoundError(f"{root} holds no image ({' '.join(IMAGE_SUFFIXES)}).")
    with_images = {key.split("/")[0] for key in keys}
    for child in sorted(root.iterdir()):
        if child.is_dir() and child.name not in with_images:
            raise FileNotFoundError(f"Class folder {child} holds no image: fill it or remove it.")
    for key in keys:
        want_utf8(key)
    return sorted(keys)


def files_under(root: Path) -> Iterator[str]:
    """Relative POSIX paths of all files under a folder.

    Raises:
        OSError: A folder cannot be read.
    """
    for folder, _, names in os.walk(root, onerror=_refuse, followlinks=True):
        prefix = Path(folder).relative_to(root)
        yield from ((prefix / name).as_posix() for name in names)


def _refuse(error: OSError) -> None:
    raise OSError(f"The folder {error.filename} cannot be read: {error.strerror}. Make it readable or remove it.")


def class_folders(keys: Sequence[str]) -> list[str]:
    """First path components, sorted; a folder's place is its class index. Empty if an image lies in the root."""
    if any("/" not in key for key in keys):
        return []
    return sorted({key.split("/")[0] for key in keys})


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
        image = decode(path)
        if image is None or image.shape[:2] == self.size_hw:
            return image
        return mmcv.imresize(image, self.size_hw[::-1], interpolation=self.interpolation, backend=self.backend)


def decode(path: Path) -> np.ndarray | None:
    """uint8 [H, W, 3] BGR, or None when the file cannot be decoded."""
    data = path.read_bytes()
    try:
        return mmcv.imfrombytes(data, flag="color") if data else None
    except Exception:  # decoders raise whatever they like on damaged files
        return None


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
