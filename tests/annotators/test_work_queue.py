import os
import sys

import pytest

from mmtl.annotators import launch
from mmtl.annotators.launch import run_on_ranks
from mmtl.annotators.work_queue import DistributedQueue, LocalQueue, RankFailure, join_queue


class MemoryStore(dict):
    """torch's key-value store, for ranks that take turns in one thread."""

    def set(self, name, value):
        self[name] = value.encode()

    def add(self, name, amount):
        self[name] = self.get(name, 0) + amount
        return self[name]

    def get(self, name, default=None):
        return self[name] if default is None else dict.get(self, name, default)


@pytest.fixture
def queues():
    shared = MemoryStore()
    return [DistributedQueue(shared, rank, 2, rank) for rank in range(2)]


def test_two_ranks_claim_every_unit_once(queues):
    claims = [queue.claim(list(range(7, 20))) for queue in queues]
    claimed = [[], []]
    for turn in (0, 1, 1, 0, 1, 0, 0, 0, 1):
        claimed[turn].append(next(claims[turn]))
    claimed[0] += list(claims[0])
    assert sorted(claimed[0] + claimed[1]) == list(range(7, 20)) and list(claims[1]) == []


def test_a_local_queue_claims_every_unit_and_broadcasts_to_itself():
    queue = LocalQueue()
    assert list(queue.claim([3, 5])) == [3, 5] and queue.broadcast([1]) == [1]
    assert (queue.rank, queue.world_size) == (0, 1) and queue.report_failure("out of memory")


def test_broadcasts_arrive_in_their_order(queues):
    for value in ([4, 2], None, {"a": 1}):
        queues[0].broadcast(value)
    assert [queues[1].broadcast() for _ in range(3)] == [[4, 2], None, {"a": 1}]


@pytest.mark.parametrize("kind", ["local", "distributed"])
def test_counters_are_summed_over_ranks_by_name(kind, queues):
    first, second = queues if kind == "distributed" else [LocalQueue()] * 2
    first.add_to_counter("undecodable", 2)
    first.add_to_counter("other", 5)
    assert second.add_to_counter("undecodable", 3) == 5


def test_a_rank_stops_when_another_has_failed(queues):
    first, second = queues
    assert second.report_failure("no memory left")
    with pytest.raises(RankFailure, match="no memory left"):
        next(first.claim([1, 2]))
    assert not first.report_failure("no memory left, too")
    with pytest.raises(RankFailure):
        second.broadcast()


def test_rank_0_waits_at_the_barrier_for_every_rank(queues, monkeypatch):
    first, second = queues
    waited = []

    def finish_later(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            second.barrier()

    monkeypatch.setattr("mmtl.annotators.work_queue.time.sleep", finish_later)
    first.barrier()
    assert len(waited) == 3


def test_a_rank_that_waits_at_the_barrier_stops_when_another_fails(queues, monkeypatch):
    monkeypatch.setattr("mmtl.annotators.work_queue.time.sleep", lambda _: queues[1].report_failure("killed"))
    with pytest.raises(RankFailure, match="killed"):
        queues[0].barrier()


def test_an_unset_slurm_environment_is_named(monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(ValueError, match="SLURM_PROCID is not set"):
        join_queue("slurm")


def run_with(queue, monkeypatch, error=None):
    """Return the exit code of work that raises an error, and the reason that it reports."""
    reasons = []
    report = queue.report_failure
    monkeypatch.setattr(launch, "join_queue", lambda launcher: queue)
    monkeypatch.setattr(queue, "report_failure", lambda reason: reasons.append(reason) or report(reason))

    def work(given):
        assert given is queue
        if error is not None:
            raise error

    return run_on_ranks(work, "none"), reasons


def test_exit_codes_of_work_on_ranks(queues, monkeypatch):
    assert run_with(LocalQueue(), monkeypatch) == (0, [])
    assert run_with(queues[0], monkeypatch, RankFailure("no memory left")) == (1, [])
    with pytest.raises(KeyboardInterrupt):  # `run_tool` reports it
        run_with(queues[0], monkeypatch, KeyboardInterrupt())
    monkeypatch.setenv(launch.STARTED_BY, str(os.getppid()))
    assert run_with(queues[0], monkeypatch, KeyboardInterrupt()) == (1, ["interrupted"])
    assert run_with(queues[1], monkeypatch, ValueError("out of range")) == (1, ["out of range"])  # not the first


def test_the_first_rank_that_fails_raises_its_error(queues, monkeypatch):
    with pytest.raises(ValueError, match="out of range"):
        run_with(queues[1], monkeypatch, ValueError("out of range"))
    with pytest.raises(RankFailure, match="out of range"):
        queues[0].barrier()


@pytest.mark.skipif(sys.platform != "linux", reason="ends processes by signals")
def test_a_killed_rank_is_reported_with_its_signal(tmp_path, monkeypatch):
    script = tmp_path / "killed.py"
    script.write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(sys, "argv", [str(script)])
    with pytest.raises(ChildProcessError, match="Rank 0 was ended by signal 9"):
        run_on_ranks(lambda queue: None, "pytorch", processes=1)
