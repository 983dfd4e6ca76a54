"""A run of one rank resumes with two, and one of two with one, from the same share of the epoch."""

import os
from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import log_of, tiny_runner
from helpers.two_ranks import on_two_ranks

COSINE = dict(type="CosineAnnealingLR", by_epoch=True, convert_to_iter_based=True, begin=0, end=5)
EMA = dict(type="mmtl.ScaledEMAHook", momentum=0.1, base_steps=30)


def train(work_dir: Path, save_at: int = 100, **arguments):
    hooks = dict(checkpoint=dict(type="mmtl.CheckpointHook", by_epoch=False, interval=save_at, max_keep_ckpts=-1))
    runner, recorder = tiny_runner(work_dir, hooks=hooks, param_scheduler=[COSINE], custom_hooks=[EMA], **arguments)
    runner.train()
    return runner, recorder


def train_rank(rank: int, work_dir: Path, arguments: dict) -> tuple:
    os.environ["LOCAL_RANK"] = str(rank)
    wrapper = dict(type="MMDistributedDataParallel", device_ids=None)
    runner, recorder = train(work_dir, launcher="pytorch", cfg=dict(model_wrapper_cfg=wrapper), **arguments)
    weight = runner.model.module.fc.weight.detach()
    return recorder.iterations, recorder.images, recorder.epochs, recorder.rates, runner.epoch, weight


def train_two(processes, work_dir: Path, **arguments) -> list[tuple]:
    return on_two_ranks(processes, work_dir.parent, train_rank, work_dir, arguments)


@pytest.mark.skipif(os.name != "posix", reason="there is no fork server")
def test_a_run_of_one_rank_resumes_with_two(tmp_path, processes):
    _, before = train(tmp_path / "one", 9)  # half of the second epoch of six iterations
    checkpoint = str(tmp_path / "one/iter_9.pth")
    first, second = train_two(processes, tmp_path / "two", load_from=checkpoint, resume=True)
    for iterations, _, epochs, rates, epoch, weight in (first, second):
        assert iterations == list(range(iterations[0], 15)) and iterations[0] in (4, 5) and epoch == 5
        assert [epochs.count(number) for number in (2, 3, 4)] == [3] * 3
        assert rates[0] < before.rates[0] and torch.equal(weight, first[-1]) and weight.isfinite().all()
    images = [record[1][-9:] for record in (first, second)]
    for start in (0, 3, 6):  # every image once in each of the last three epochs
        seen = [image for batches in images for batch in batches[start : start + 3] for image in batch]
        assert sorted(seen) == list(range(12))
    assert "differs from that of the checkpoint" in log_of(tmp_path / "two")


@pytest.mark.skipif(os.name != "posix", reason="there is no fork server")
def test_a_run_of_two_ranks_resumes_with_one(tmp_path, processes):
    train_two(processes, tmp_path / "two", save_at=4)  # a third of the second epoch of three iterations
    runner, recorder = train(tmp_path / "one", load_from=str(tmp_path / "two/iter_4.pth"), resume=True)
    assert recorder.iterations == list(range(8, 30)) and recorder.images[0] == [4, 5] and runner.epoch == 5
    assert "differs from that of the checkpoint" in log_of(tmp_path / "one")
