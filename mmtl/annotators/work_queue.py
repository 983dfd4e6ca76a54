"""Share the work units of a store between ranks.

Ranks communicate only through torch's key-value store of the rendezvous; no process group is needed.
"""

import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Protocol

SLURM_PORT = "29500"
TIMEOUT = timedelta(days=1)  # hours can pass between two messages of ranks with a large annotator


class RankFailure(RuntimeError):
    """Another rank failed and has reported why."""


class WorkQueue(Protocol):
    """What a rank needs to share work with the others: `LocalQueue` for one process, `DistributedQueue` for several.

    Attributes:
        rank: number of this process.
        world_size: number of processes.
        local_rank: number of this process on its machine.
    """

    rank: int
    world_size: int
    local_rank: int

    def broadcast(self, value: Any = None) -> Any:
        """Return the value (plain JSON) that rank 0 passes."""

    def claim(self, units: Sequence[int]) -> Iterator[int]:
        """Yield units that no other rank has claimed, one at a time, so that a slow rank claims fewer."""

    def add_to_counter(self, name: str, amount: int) -> int:
        """Add to a counter shared by all ranks and return its value."""

    def report_failure(self, reason: str) -> bool:
        """Make the other ranks stop with `RankFailure`. Return whether this rank was the first to fail."""

    def barrier(self) -> None:
        """Make rank 0 wait until every rank has finished its units."""


class LocalQueue:
    """The queue of a single process, a `WorkQueue`."""

    rank, world_size, local_rank = 0, 1, 0

    def __init__(self) -> None:
        self._counters: Counter[str] = Counter()

    def broadcast(self, value: Any = None) -> Any:  # noqa: D102
        return value

    def claim(self, units: Sequence[int]) -> Iterator[int]:  # noqa: D102
        return iter(units)

    def add_to_counter(self, name: str, amount: int) -> int:  # noqa: D102
        self._counters[name] += amount
        return self._counters[name]

    def report_failure(self, reason: str) -> bool:  # noqa: D102
        return True

    def barrier(self) -> None:  # noqa: D102
        pass


class DistributedQueue:
    """The queue of one of several ranks, which share a key-value store of torch.distributed; a `WorkQueue`."""

    def __init__(self, store: Any, rank: int, world_size: int, local_rank: int) -> None:
        self.store, self.rank, self.world_size, self.local_rank = store, rank, world_size, local_rank
        self._num_broadcasts = 0

    def broadcast(self, value: Any = None) -> Any:  # noqa: D102
        name = f"broadcast/{self._num_broadcasts}"
        self._num_broadcasts += 1
        if self.rank == 0:
            self.store.set(name, json.dumps({"value": value}))
            return value
        message = json.loads(self.store.get(name))
        if "failure" in message:
            raise RankFailure(message["failure"])
        return message["value"]

    def claim(self, units: Sequence[int]) -> Iterator[int]:  # noqa: D102
        while (index := self.store.add("claimed", 1) - 1) < len(units):
            self._stop_if_failed()
            yield units[index]

    def add_to_counter(self, name: str, amount: int) -> int:  # noqa: D102
        return self.store.add(f"counter/{name}", amount)

    def report_failure(self, reason: str) -> bool:  # noqa: D102
        try:
            self.store.set("failure", reason)
            is_first = self.store.add("failed", 1) == 1
            if self.rank == 0:  # ranks that wait for the next broadcast receive the failure
                self.store.set(f"broadcast/{self._num_broadcasts}", json.dumps({"failure": reason}))
        except RuntimeError:  # the process that held the store has ended
            return False
        return is_first

    def barrier(self) -> None:  # noqa: D102
        self._stop_if_failed()
        self.store.add("finished", 1)  # the last message of all ranks but 0, which may hold the store and end
        while self.rank == 0 and self.store.add("finished", 0) < self.world_size:
            self._stop_if_failed()
            time.sleep(0.2)

    def _stop_if_failed(self) -> None:
        if self.store.add("failed", 0):
            raise RankFailure(self.store.get("failure").decode())


def join_queue(launcher: str) -> WorkQueue:
    """Return the queue that this process belongs to.

    Args:
        launcher: "none", "pytorch" (started by torchrun) or "slurm" (started by srun).

    Raises:
        ValueError: The launcher's environment variables are not set.
    """
    if launcher == "none":
        return LocalQueue()
    if launcher == "slurm":
        _set_slurm_environment()
    from torch.distributed.rendezvous import rendezvous

    store, rank, world_size = next(rendezvous("env://", timeout=TIMEOUT))
    store.set_timeout(TIMEOUT)
    return DistributedQueue(store, rank, world_size, int(os.environ.get("LOCAL_RANK", rank)))


def _set_slurm_environment() -> None:
    env = os.environ
    if "SLURM_PROCID" not in env:
        raise ValueError("SLURM_PROCID is not set. Start the command with srun for --launcher slurm.")
    env.update(RANK=env["SLURM_PROCID"], WORLD_SIZE=env["SLURM_NTASKS"], LOCAL_RANK=env.get("SLURM_LOCALID", "0"))
    env.setdefault("MASTER_ADDR", _first_host(env["SLURM_NODELIST"]))
    env.setdefault("MASTER_PORT", SLURM_PORT)


def _first_host(node_list: str) -> str:
    """Return the first host of a Slurm node list such as ``gpu[03-05,9],login1``."""
    try:
        command = ["scontrol", "show", "hostnames", node_list]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return re.sub(r"\[([^\],-]+).*", r"\1", node_list).split(",")[0]
