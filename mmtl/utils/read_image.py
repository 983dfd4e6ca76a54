"""Decode image files."""

from pathlib import Path

import mmcv
import numpy as np


def read_image(path: Path) -> np.ndarray | None:
    """Return an image file's pixels, uint8 [H, W, 3] BGR, or None if it cannot be decoded."""
    data = path.read_bytes()
    try:
        return mmcv.imfrombytes(data, flag="color") if data else None
    except Exception:  # decoders raise all kinds of errors on corrupt files
        return None
