"""The operators that a piece of code dispatches."""

from collections.abc import Callable

from torch.utils._python_dispatch import TorchDispatchMode


class Operators(TorchDispatchMode):
    """Record every operator of ATen, such as ('add.Tensor', args), in the order of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple]] = []

    def __torch_dispatch__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        self.calls.append((str(func).removeprefix("aten."), args))
        return func(*args, **(kwargs or {}))
