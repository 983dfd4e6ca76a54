"""``torch.compile`` that a missing compiler does not stop."""

import logging
from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging import print_log
from torch import nn
from torch._dynamo.exc import TorchDynamoException


class CompiledOrEager:
    """A function of a module, compiled for training; it warns and runs eager if the first call cannot be compiled.

    In evaluation mode, where sizes vary, it runs eager.

    Args:
        function: its first argument is the module.
        options: options of ``torch.compile``.
        training: mode of the module in which the compiled function is used.
    """

    def __init__(self, function: Callable, options: dict, training: bool = True) -> None:
        self.function, self.compiled = function, torch.compile(function, **options)
        self.training, self.works = training, False

    def __call__(self, module: nn.Module, *args: object, **kwargs: object) -> object:
        """Call the function."""
        if self.compiled is None or module.training != self.training:
            return self.function(module, *args, **kwargs)
        if not self.works:
            use_plain_numbers(module)
        try:
            result = self.compiled(module, *args, **kwargs)
        except TorchDynamoException as error:
            if self.works:
                raise
            print_log(
                f"torch.compile failed, so training continues without it: {str(error).strip().splitlines()[0]} "
                "The default backend needs a C++ compiler on a CPU and Triton on a GPU.",
                logger="current",
                level=logging.WARNING,
            )
            self.compiled = None
            return self.function(module, *args, **kwargs)
        self.works = True
        return result

    def __deepcopy__(self, memo: dict) -> "CompiledOrEager":
        return self  # like a function


def use_plain_numbers(module: nn.Module) -> None:
    """Replace NumPy's numbers in attributes, such as drop-path rates of ``linspace``, which break compiled graphs."""
    for part in module.modules():
        vars(part).update({name: value.item() for name, value in vars(part).items() if isinstance(value, np.generic)})
