import functools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from torch.utils.data import DataLoader, Dataset

from mmtl.engine.hooks.exact_resume import NumberedSampler, load_seeded, seed_generators

SCRIPT = ROOT / "tests/helpers/killed_runs.py"


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory) -> Callable[[str], dict[str, Any]]:
    """Return the losses of the runs of killed_runs.py for a task, and their log."""

    @functools.cache
    def run(task: str) -> dict[str, Any]:
        command = [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp(task)), task]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return {**json.loads(done.stdout), "log": done.stderr}

    return run


@pytest.mark.parametrize(
    ("task", "workers", "last_saved"), [("pretrain", 4, 6), ("pretrain", 0, 3), ("segment", 4, 6)]
)
def test_a_killed_run_resumes_with_the_losses_of_the_uninterrupted_one(killed_runs, task, workers, last_saved):
    runs, name = killed_runs(task), f"workers_{workers}"
    assert [iteration for iteration, _ in runs["uninterrupted"]] == list(range(1, 11))
    assert runs[name] == runs["uninterrupted"][:8]  # the samples do not depend on the number of workers
    assert runs[f"{name}_resumed"] == runs["uninterrupted"][last_saved:]


def test_the_log_names_the_corrupt_checkpoint_and_the_one_used_instead(killed_runs):
    log = killed_runs("pretrain")["log"]
    assert "iter_6.pth is not used: " in log
    assert "Falling back to the last intact checkpoint" in log


class Draws(Dataset):
    """Samples that consist of random draws."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[int, float, float]:
        return index, np.random.rand(), torch.rand(()).item()


def test_a_plain_index_is_loaded_without_seeding():
    np.random.seed(0)
    expected = [np.random.rand(), np.random.rand()]
    np.random.seed(0)
    samples = load_seeded(Draws(), 0, 0, [3, 3])
    assert [sample[1] for sample in samples] == expected


def test_a_sample_draws_differently_at_every_position_of_the_run_and_on_every_rank():
    sampler = NumberedSampler(range(6))
    passes = [item for _ in range(3) for item in sampler]
    assert [item.position for item in passes] == list(range(18))
    samples = load_seeded(Draws(), 0, 0, passes) + load_seeded(Draws(), 0, 1, passes)
    assert len({draw for sample in samples for draw in sample[1:]}) == 2 * 2 * 18


def test_skipped_indices_are_skipped_once_and_do_not_change_the_length():
    sampler = NumberedSampler(range(6))
    loader = DataLoader(Draws(), batch_sampler=torch.utils.data.BatchSampler(sampler, 2, False))
    sampler.skip = sampler.position = 4
    assert len(loader) == 3
    assert list(sampler) == [(4, 4), (5, 5)]
    assert [index for index, _ in sampler] == list(range(6))


def test_generators_depend_only_on_the_key():
    def draws(*key: int) -> tuple:
        seed_generators(*key)
        return np.random.rand(), torch.rand(()).item()

    assert draws(1, 2) == draws(1, 2)
    assert len({draws(*key) for key in [(1, 2), (2, 1), (1, 1), (0, 1)]}) == 4
