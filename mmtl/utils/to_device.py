"""Copies to a device that nothing waits for."""

import numpy as np
import torch
from torch import Tensor


def to_device(values: Tensor | np.ndarray, device: torch.device | str) -> Tensor:
    """Copy a tensor or array to a device without waiting, but wait for copies to the CPU, which reads at once."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    return tensor.to(device, non_blocking=torch.device(device).type != "cpu")
