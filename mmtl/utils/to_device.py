"""Copies to a device that nothing waits for."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_device(values: Tensor | np.ndarray, device: torch.device | str) -> Tensor:
    """Copy a tensor or array to a device without waiting, but wait for copies to the CPU, which reads at once."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    return tensor.to(device, non_blocking=torch.device(device).type != "cpu")


@functools.lru_cache(maxsize=64)
def constant(values: Sequence[float], shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a tensor that is copied to the device once and must not be changed."""
    with torch.inference_mode(False):
        return to_device(torch.tensor(values, dtype=dtype).view(shape), device)
