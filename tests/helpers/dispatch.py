"""The operators that a piece of code dispatches."""

from collections.abc import Callable

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Operators(TorchDispatchMode):
    """Record every operator of ATen, such as ('add.Tensor', args), in the order of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple]] = []

    def __torch_dispatch__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        self.calls.append((str(func).removeprefix("aten."), args))
        return func(*args, **(kwargs or {}))

    def mixing_devices(self) -> list[str]:
        """Return the operators other than copies that got tensors of several devices, scalars on the CPU excepted.

        A GPU refuses them or waits; the device 'meta' refuses some.
        """
        return [name for name, args in self.calls if not name.startswith(("_to_copy", "copy_")) and _is_mixed(args)]


def _is_mixed(args: tuple) -> bool:
    tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
    return len({tensor.device for tensor in tensors if tensor.dim() or tensor.device.type != "cpu"}) > 1
