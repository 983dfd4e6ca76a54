"""What the benchmarks share: ways that take turns in one process, and the memory that a run holds at its peak."""

import statistics
import time
from collections.abc import Callable

import torch


def alternate(
    ways: dict[str, Callable[[], object]],
    rounds: int,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    warm_up: bool = True,
) -> dict[str, float]:
    """Median seconds of each way over some rounds, the ways taking turns.

    Args:
        ways: name to a call without arguments.
        rounds: measured rounds.
        device: 'cuda' waits for the device before the clock is read.
        clock: ``time.process_time`` counts processor time, for a machine that is busy with other work.
        warm_up: whether a round that does not count comes first.
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
    """Wait for the device, where there is one to wait for."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak_mib(run: Callable[[], object], device: str = "cpu") -> float:
    """Most memory that the run holds beyond what was there before, in MiB."""
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
