"""Inputs, weights and outputs of the authors' released code, see tests/data/golden/README.md."""

import json
import zlib

import numpy as np
import torch
from helpers.paths import DATA

FOLDER = DATA / "golden"


def released_weight(name: str, shape: list[int]) -> torch.Tensor:
    """Return a weight that depends only on its released name and shape, so that no weights have to be stored."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        n = 0.5 + np.abs(n)
    elif name.endswith(("running_mean", "bias")):
        n = 0.1 * n
    elif name.endswith(("cls_token", "pos_embed")):
        n = 0.2 * n
    elif n.ndim == 1:
        n = 1 + 0.1 * n
    else:
        n = n / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(n, np.float32))


def released_state_dict(name: str) -> dict[str, torch.Tensor]:
    """Return all weights of a released model."""
    shapes = json.loads((FOLDER / f"{name}.keys.json").read_text())
    return {key: released_weight(key, shape) for key, shape in shapes.items()}


def released_segmentor(name: str) -> dict[str, torch.Tensor]:
    """Return the same weights under a segmentor's names, with the prefix ``backbone.``."""
    return {f"backbone.{key}": value for key, value in released_state_dict(name).items()}


def outputs(name: str) -> dict[str, torch.Tensor]:
    """Return the recorded outputs of a released model."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def images(batch: int, height: int, width: int) -> torch.Tensor:
    """Return the images [B, 3, H, W] that the outputs were recorded with."""
    array = np.random.RandomState(7).standard_normal((batch, 3, height, width)).astype(np.float32)
    return torch.from_numpy(array)
