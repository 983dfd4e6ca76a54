"""Two ranks of a process group on this machine."""

from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def on_two_ranks(processes: BaseContext, folder: Path, work: Callable, *arguments: Any) -> list[Any]:
    """Return what ``work(rank, *arguments)`` returns, tensors and plain values, on ranks 0 and 1.

    Args:
        processes: the fixture of this name.
        folder: for the files by which they communicate.
        work: a function of a module.
        *arguments: of the function.
    """
    pair = [processes.Process(target=_run, args=(rank, folder, work, arguments)) for rank in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(240)
        assert process.exitcode == 0
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(2)]


def _run(rank: int, folder: Path, work: Callable, arguments: tuple) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        torch.save(work(rank, *arguments), folder / f"rank_{rank}.pt")
    finally:
        dist.destroy_process_group()
