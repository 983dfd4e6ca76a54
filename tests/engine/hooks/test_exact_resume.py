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

from mmtl.engine.hooks.exact_resume import PlacedSampler, load_placed, seed_generators

SCRIPT = ROOT / "tests/helpers/killed_runs.py"


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory) -> Callable[[str], dict[str, Any]]:
    """What killed_runs.py did for a task, and what it said."""

    @functools.cache
    def run(task: str) -> dict[str, Any]:
        command = [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp(task)), task]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return {**json.loads(done.stdout), "log": done.stderr}

    return run


@pytest.mark.parametrize(
    ("task", "workers", "last_whole"), [("pretrain", 4, 6), ("pretrain", 0, 3), ("segment", 4, 6)]
)
def test_a_killed_run_goes_on_with_the_losses_of_the_uninterrupted_one(killed_runs, task, workers, last_whole):
    runs, name = killed_runs(task), f"workers_{workers}"
    assert [iteration for iteration, _ in runs["whole"]] == list(range(1, 11))
    assert runs[name] == runs["whole"][:8]  # any number of workers sees the same samples
    assert runs[f"{name}_resumed"] == runs["whole"][last_whole:]


def test_the_log_says_which_checkpoint_is_damaged_and_which_is_taken(killed_runs):
    log = killed_runs("pretrain")["log"]
    assert "iter_6.pth is not used: it is missing or cut short" in log
    assert "Falling back to the last whole checkpoint" in log


class Draws(Dataset):
    """Samples that are nothing but draws."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[int, float, float]:
        return index, np.random.rand(), torch.rand(()).item()


def test_a_plain_index_is_loaded_without_seeding():
    np.random.seed(0)
    expected = [np.random.rand(), np.random.rand()]
    np.random.seed(0)
    samples = load_placed(Draws(), 0, 0, [3, 3])
    assert [sample[1] for sample in samples] == expected


def test_a_sample_draws_anew_at_every_place_of_the_run_and_differently_on_every_rank():
    sampler = PlacedSampler(range(6))
    passes = [item for _ in range(3) for item in sampler]
    assert [item.place for item in passes] == list(range(18))
    samples = load_placed(Draws(), 0, 0, passes) + load_placed(Draws(), 0, 1, passes)
    assert len({draw for sample in samples for draw in sample[1:]}) == 2 * 2 * 18


def test_a_pass_leaves_out_what_is_skipped_once_and_keeps_its_length():
    sampler = PlacedSampler(range(6))
    loader = DataLoader(Draws(), batch_sampler=torch.utils.data.BatchSampler(sampler, 2, False))
    sampler.skip = sampler.place = 4
    assert len(loader) == 3
    assert list(sampler) == [(4, 4), (5, 5)]
    assert [index for index, _ in sampler] == list(range(6))


def test_generators_follow_from_the_key_alone():
    def draws(*key: int) -> tuple:
        seed_generators(*key)
        return np.random.rand(), torch.rand(()).item()

    assert draws(1, 2) == draws(1, 2)
    assert len({draws(*key) for key in [(1, 2), (2, 1), (1, 1), (0, 1)]}) == 4
