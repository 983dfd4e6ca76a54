from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from mmtl.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """mmengine's OptimWrapper with bfloat16 mixed precision.

    bfloat16 has the range of float32, so there is no gradient scaler, whose check for infinite gradients makes every
    iteration wait for the device. Weights, gradients and optimizer states stay float32.
    """

    def __init__(self, **kwargs: object) -> None:
        if get_device() == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ValueError(
                f"optim_wrapper.type must not be mmtl.BFloat16OptimWrapper on a {torch.cuda.get_device_name()}, which "
                "does not support bfloat16. Set optim_wrapper.type=AmpOptimWrapper optim_wrapper.dtype=float16."
            )
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of a training step under autocast."""
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield
