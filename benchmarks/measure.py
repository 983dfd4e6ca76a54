"""Options of the benchmarks; time, peak memory and number of operators of calls."""

import argparse
import statistics
import time
import weakref
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CLOCKS = dict(wall=time.perf_counter, cpu=time.process_time)  # cpu: for a machine that is busy with other work
CHOICES = dict(dtype=["float32", "bfloat16", "float16"], clock=list(CLOCKS))


def make_parser(doc: str, devices: Sequence[str] = ("cpu", "cuda"), **defaults: int | str) -> argparse.ArgumentParser:
    """Return a parser with ``--device`` and an option for each default, such as ``rounds=7``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if devices:
        parser.add_argument("--device", default=devices[0], choices=devices)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", default=default, type=type(default), choices=CHOICES.get(name))
    return parser


def alternate(
    ways: dict[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    warm_up: bool = True,
) -> dict[str, float]:
    """Return the median seconds of each way (a call without arguments), the ways taking turns, by name."""
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


def seconds_per_call(run: Callable[[], object], calls: int, device: str) -> float:
    """Return the mean seconds of a call, after as many calls for warm-up."""
    for call in range(2 * calls):
        if call == calls:
            synchronize(device)
            start = time.perf_counter()
        run()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak_mib(run: Callable[[], object], device: str = "cpu", known: Iterable[Tensor] = ()) -> float:
    """Return the peak memory of a call beyond what was allocated before it, in MiB.

    The device 'meta' computes nothing: the tensors that operations return are counted, but for the ``known`` ones.
    """
    if device == "meta":
        with _Operators(known) as operators:
            run()
        return operators.peak / 2**20
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
    with _Operators() as operators:
        run()
    return operators.count


class _Operators(TorchDispatchMode):
    """Count operators, and the bytes of the tensors that exist after each of them, but for the ``known`` ones."""

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.count = self.held = self.peak = 0
        self.bytes_of = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        """Run an operation and count it and what it returns."""
        self.count += 1
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage())
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self.bytes_of:
            self.bytes_of[storage._cdata] = storage.nbytes()
            self.held += storage.nbytes()
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._release, storage._cdata)

    def _release(self, key: int) -> None:
        self.held -= self.bytes_of.pop(key)
