"""Several processes that share one store: who makes which shard, and how they wait for each other.

Processes talk through torch's key-value store of the rendezvous alone; no process group is needed.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

SLURM_PORT = "29500"
PATIENCE = timedelta(days=1)  # a large annotator needs hours between two words


class TeamFailure(RuntimeError):
    """Another process failed and has said why."""


class Alone:
    """A team of one."""

    rank, size, local_rank = 0, 1, 0

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def share(self, value: Any = None) -> Any:
        """What rank 0 gives, to everyone."""
        return value

    def draw(self, units: Sequence[int]) -> Iterator[int]:
        """Units that are this process's to make."""
        return iter(units)

    def add(self, name: str, amount: int) -> int:
        """Add to a number shared by all; its new value."""
        self._numbers[name] = self._numbers.get(name, 0) + amount
        return self._numbers[name]

    def fail(self, reason: str) -> bool:
        """Tell the others that this process gives up; whether it is the first to do so."""
        return True

    def wait_for_all(self) -> None:
        """Wait until every process has finished its units."""


class Team(Alone):
    """One process of several, as `torchrun` or `srun` started it.

    Args:
        store: torch.distributed key-value store shared by all.
        rank: Number of this process.
        size: Number of processes.
        local_rank: Number of this process on its machine.
    """

    def __init__(self, store: Any, rank: int, size: int, local_rank: int) -> None:
        self.store, self.rank, self.size, self.local_rank = store, rank, size, local_rank
        self._shared = 0

    def share(self, value: Any = None) -> Any:
        """What rank 0 gives (plain JSON values), to everyone."""
        name = f"shared/{self._shared}"
        self._shared += 1
        if self.rank == 0:
            self.store.set(name, json.dumps({"value": value}))
            return value
        answer = json.loads(self.store.get(name))
        if "failure" in answer:
            raise TeamFailure(answer["failure"])
        return answer["value"]

    def draw(self, units: Sequence[int]) -> Iterator[int]:
        """Units that are this process's to make, drawn one by one, so that a slow process draws fewer."""
        while (place := self.store.add("drawn", 1) - 1) < len(units):
            self._stop_if_failed()
            yield units[place]

    def add(self, name: str, amount: int) -> int:
        """Add to a number shared by all; its new value."""
        return self.store.add(f"number/{name}", amount)

    def fail(self, reason: str) -> bool:
        """Tell the others that this process gives up; whether it is the first to do so."""
        try:
            self.store.set("failure", reason)
            first = self.store.add("failed", 1) == 1
            if self.rank == 0:  # whoever waits for rank 0's next word gets this one
                self.store.set(f"shared/{self._shared}", json.dumps({"failure": reason}))
        except RuntimeError:  # the process that held the store is gone
            return False
        return first

    def wait_for_all(self) -> None:
        """Rank 0 waits until every process has finished its units.

        Raises:
            TeamFailure: Another process failed.
        """
        self._stop_if_failed()
        self.store.add("finished", 1)  # the last word of all but rank 0, which may hold the store and leave
        while self.rank == 0 and self.store.add("finished", 0) < self.size:
            self._stop_if_failed()
            time.sleep(0.2)

    def _stop_if_failed(self) -> None:
        if self.store.add("failed", 0):
            raise TeamFailure(self.store.get("failure").decode())


def join_team(launcher: str) -> Alone:
    """The team that this process belongs to.

    Args:
        launcher: "none", "pytorch" (started by torchrun) or "slurm" (started by srun).

    Raises:
        ValueError: The launcher's environment is not there.
    """
    if launcher == "none":
        return Alone()
    if launcher == "slurm":
        _set_slurm_environment()
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    store.set_timeout(PATIENCE)
    return Team(store, rank, size, int(os.environ.get("LOCAL_RANK", rank)))


def _set_slurm_environment() -> None:
    if "SLURM_PROCID" not in os.environ:
        raise ValueError("--launcher slurm: start the command with srun, SLURM_PROCID is not set.")
    os.environ["RANK"] = os.environ["SLURM_PROCID"]
    os.environ["WORLD_SIZE"] = os.environ["SLURM_NTASKS"]
    os.environ["LOCAL_RANK"] = os.environ.get("SLURM_LOCALID", "0")
    os.environ.setdefault("MASTER_ADDR", _first_host(os.environ["SLURM_NODELIST"]))
    os.environ.setdefault("MASTER_PORT", SLURM_PORT)


def _first_host(node_list: str) -> str:
    """First host of a Slurm node list such as `gpu[03-05,9],login1`."""
    try:
        hosts = subprocess.run(
            ["scontrol", "show", "hostnames", node_list], capture_output=True, text=True, check=True
        ).stdout.split()
        return hosts[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return re.sub(r"\[([^\],-]+).*", r"\1", node_list).split(",")[0]
