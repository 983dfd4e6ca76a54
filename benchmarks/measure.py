"""Time of alternatives that take turns in one process, peak memory of a call, and its number of operators."""

import statistics
import time
import weakref
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def alternate(
    ways: dict[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    warm_up: bool = True,
) -> dict[str, float]:
    """Return the median seconds of each way over some rounds, the ways taking turns.

    Args:
        ways: calls without arguments by name.
        rounds: number of measured rounds.
        device: 'cuda' waits for the device before the clock is read.
        clock: ``time.process_time`` counts processor time, for a machine that is busy with other work.
        warm_up: whether to run a round before the measured ones.
    """
    seconds = {name: [] for name in ways}
    for round_number in range(0 if warm_up else 1, rounds + 1):
        for name, run in ways.items():
            synchronize(device)
            start = clock()
            run()
            synchronize(device)
            if round_number:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak_mib(run: Callable[[], object], device: str = "cpu", known: Iterable[Tensor] = ()) -> float:
    """Return the peak memory of a call beyond what was allocated before it, in MiB.

    Args:
        run: a call without arguments.
        device: 'meta' counts the tensors that operations return and computes nothing.
        known: for 'meta', the tensors that existed before.
    """
    if device == "meta":
        with _LiveTensors(known) as live:
            run()
        return live.peak / 2**20
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak / 2**20


def count_operators(run: Callable[[], object]) -> int:
    """Return the number of ATen operators, views included, that a call dispatches."""
    with _Counter() as counter:
        run()
    return counter.count


class _Counter(TorchDispatchMode):
    """Count operators."""

    count = 0

    def __torch_dispatch__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        """Run an operation and count it."""
        self.count += 1
        return func(*args, **(kwargs or {}))


class _LiveTensors(TorchDispatchMode):
    """Count the bytes of the tensors that exist after each operation.

    Args:
        known: tensors to ignore.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.held = self.peak = 0
        self.bytes_of = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        """Run an operation and count what it returns."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self.bytes_of:
            self.bytes_of[storage._cdata] = storage.nbytes()
            self.held += storage.nbytes()
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._release, storage._cdata)

    def _release(self, key: int) -> None:
        self.held -= self.bytes_of.pop(key)
