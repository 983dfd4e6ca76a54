"""``torch.compile`` that a missing compiler does not stop."""

import logging
from collections.abc import Callable

import torch
from mmengine.logging import print_log
from torch._dynamo.exc import TorchDynamoException


class CompiledOrEager:
    """Compile a function with options of ``torch.compile``; warn and run eager if its first call fails to compile."""

    def __init__(self, function: Callable, options: dict) -> None:
        self.function, self.compiled = function, torch.compile(function, **options)
        self.works = False

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Call the function."""
        if self.compiled is None:
            return self.function(*args, **kwargs)
        try:
            result = self.compiled(*args, **kwargs)
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
            return self.function(*args, **kwargs)
        self.works = True
        return result

    def __deepcopy__(self, memo: dict) -> "CompiledOrEager":
        return self  # like a function
