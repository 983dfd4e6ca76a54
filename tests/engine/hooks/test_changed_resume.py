"""A run resumes under changed conditions from where it was, with the new settings, and reports both."""

import pytest
import torch
from helpers.tiny_runs import Images, log_of, tiny_runner
from mmengine.dataset import pseudo_collate

COSINE = dict(type="CosineAnnealingLR", by_epoch=True, convert_to_iter_based=True, begin=0)
EMA = dict(type="mmtl.ScaledEMAHook", momentum=0.1, base_steps=30)


def checkpoint_at(work_dir, iteration: int, **arguments):
    """Train until an iteration, save a checkpoint there and return its path."""
    hooks = dict(checkpoint=dict(type="mmtl.CheckpointHook", by_epoch=False, interval=iteration, max_keep_ckpts=-1))
    runner, recorder = tiny_runner(work_dir, hooks=hooks, **arguments)
    runner.train()
    return str(work_dir / f"iter_{iteration}.pth"), recorder


def resumed(work_dir, checkpoint: str, **arguments):
    runner, recorder = tiny_runner(work_dir, load_from=checkpoint, resume=True, **arguments)
    runner.train()
    return runner, recorder


@pytest.mark.parametrize("change", [dict(batch_size=4), dict(batch_size=1), dict(images=24), dict(images=6)])
def test_another_batch_or_dataset_resumes_at_the_same_share_of_the_epoch(tmp_path, change):
    checkpoint, _ = checkpoint_at(tmp_path / "run", 9)  # half of the second epoch of six iterations
    runner, recorder = resumed(tmp_path / "resumed", checkpoint, **change)
    length = change.get("images", 12) // change.get("batch_size", 2)
    assert recorder.iterations == list(range(length + length // 2, 5 * length)) and recorder.epochs[0] == 1
    assert [recorder.epochs.count(epoch) for epoch in (2, 3, 4)] == [length] * 3
    assert recorder.images[0][0] == length // 2 * change.get("batch_size", 2)
    assert runner.epoch == 5 and "differs from that of the checkpoint" in log_of(tmp_path / "resumed")


CYCLE = dict(type="OneCycleLR", eta_max=0.1, total_steps=30, by_epoch=False)


@pytest.mark.parametrize("schedule", [dict(COSINE, end=5), CYCLE], ids=["cosine", "cycle"])
def test_an_unchanged_run_resumes_without_a_warning(tmp_path, schedule):
    arguments = dict(param_scheduler=[schedule])
    checkpoint, uninterrupted = checkpoint_at(tmp_path / "run", 9, **arguments)
    _, recorder = resumed(tmp_path / "resumed", checkpoint, **arguments)
    assert recorder.rates == uninterrupted.rates[9:] and recorder.images == uninterrupted.images[9:]
    assert "differ" not in log_of(tmp_path / "resumed")


def test_another_batch_in_a_run_by_iterations_keeps_the_iteration_and_is_reported(tmp_path):
    loop = dict(train_cfg=dict(type="IterBasedTrainLoop", max_iters=12))
    loop["loader"] = dict(sampler=dict(type="InfiniteSampler", shuffle=True))
    checkpoint, _ = checkpoint_at(tmp_path / "run", 5, **loop)
    _, recorder = resumed(tmp_path / "resumed", checkpoint, batch_size=4, **loop)
    assert recorder.iterations == list(range(5, 12))
    assert "images_per_iter 2 -> 4" in log_of(tmp_path / "resumed")


def test_a_run_by_iterations_resumes_by_epochs_where_its_images_end(tmp_path):
    loop = dict(train_cfg=dict(type="IterBasedTrainLoop", max_iters=12))
    checkpoint, _ = checkpoint_at(tmp_path / "run", 9, **loop)
    _, recorder = resumed(tmp_path / "resumed", checkpoint)
    assert recorder.iterations == list(range(9, 30)) and recorder.epochs[0] == 1 and recorder.images[0] == [6, 7]


@pytest.mark.parametrize("epochs", [3, 10])
def test_another_length_resumes_on_the_new_schedule_and_reports_both_lengths(tmp_path, epochs):
    def arguments(length: int) -> dict:
        schedule = [
            dict(type="LinearLR", start_factor=0.1, by_epoch=True, end=1, convert_to_iter_based=True),
            dict(COSINE, begin=1, end=length),
        ]
        return dict(train_cfg=dict(by_epoch=True, max_epochs=length), param_scheduler=schedule, custom_hooks=[EMA])

    checkpoint, _ = checkpoint_at(tmp_path / "run", 9, **arguments(5))
    runner, recorder = resumed(tmp_path / "resumed", checkpoint, **arguments(epochs))
    fresh, uninterrupted = tiny_runner(tmp_path / "fresh", **arguments(epochs))
    fresh.train()
    assert recorder.rates == uninterrupted.rates[9:] and recorder.iterations[0] == 9
    log = log_of(tmp_path / "resumed")
    assert f"schedule ends at 6, 30 -> schedule ends at 6, {6 * epochs}" in log
    average = next(hook for hook in runner.hooks if hasattr(hook, "ema_model")).ema_model
    assert average.momentum == next(h for h in fresh.hooks if hasattr(h, "ema_model")).ema_model.momentum


def test_another_batch_resumes_on_the_schedule_of_its_own_iterations(tmp_path):
    arguments = dict(param_scheduler=[dict(COSINE, end=5), dict(type="ExponentialLR", gamma=0.9, by_epoch=True)])
    checkpoint, _ = checkpoint_at(tmp_path / "run", 9, **arguments)
    _, recorder = resumed(tmp_path / "resumed", checkpoint, batch_size=1, **arguments)
    fresh, uninterrupted = tiny_runner(tmp_path / "fresh", batch_size=1, **arguments)
    fresh.train()
    assert recorder.rates == pytest.approx(uninterrupted.rates[18:], rel=1e-12)


@pytest.mark.parametrize("schedule", [[], [dict(COSINE, end=5)]], ids=["constant", "cosine"])
def test_another_learning_rate_and_weight_decay_are_used_and_reported(tmp_path, schedule):
    checkpoint, before = checkpoint_at(tmp_path / "run", 9, param_scheduler=schedule)
    optimizer = dict(type="SGD", lr=0.02, weight_decay=0.5)
    runner, recorder = resumed(
        tmp_path / "resumed", checkpoint, param_scheduler=schedule, optim_wrapper=dict(optimizer=optimizer)
    )
    assert recorder.rates == pytest.approx([2 * rate for rate in before.rates[9:]])
    assert runner.optim_wrapper.param_groups[0]["weight_decay"] == 0.5
    log = log_of(tmp_path / "resumed")
    # Guards: "schedule ends at 30 -> schedule ends at 30", with no word of what differs.
    assert "weight_decay changed, 0 -> 0.5" in log and "schedule ends" not in log
    assert f"learning rate {before.rates[8]:.4g} -> {2 * before.rates[8]:.4g}" in log or schedule
    assert "initial lr 0.01 -> 0.02" in log or not schedule


def test_another_parameter_of_a_schedule_is_reported_by_name(tmp_path):
    checkpoint, _ = checkpoint_at(tmp_path / "run", 9, param_scheduler=[dict(COSINE, end=5)])
    resumed(tmp_path / "resumed", checkpoint, param_scheduler=[dict(COSINE, end=5, eta_min=0.001)])
    assert "on: param_scheduler.0.eta_min 0 -> 0.001; learning rate" in log_of(tmp_path / "resumed")


@pytest.mark.parametrize("schedule", [dict(COSINE, end=5), CYCLE], ids=["cosine", "cycle"])
def test_a_schedule_of_another_type_is_used_from_where_the_run_is(tmp_path, schedule):
    """Guards: OneCycleLR ended with a KeyError, as the parameter groups of the checkpoint had no max_lr."""
    before, now = (each for each in ([dict(COSINE, end=5)], [CYCLE]) if [schedule] != each), [schedule]
    checkpoint, _ = checkpoint_at(tmp_path / "run", 9, param_scheduler=next(before))
    _, recorder = resumed(tmp_path / "resumed", checkpoint, param_scheduler=now)
    fresh, uninterrupted = tiny_runner(tmp_path / "fresh", param_scheduler=now)
    fresh.train()
    assert recorder.rates == pytest.approx(uninterrupted.rates[9:], rel=1e-12)


@pytest.mark.parametrize("types", [("SGD", "AdamW"), ("AdamW", "SGD")])
def test_another_optimizer_is_refused_by_name(tmp_path, types):
    """Guards: torch ended with KeyError: 'momentum' in the first step."""
    before, now = (dict(optim_wrapper=dict(optimizer=dict(type=each, lr=0.01))) for each in types)
    checkpoint, _ = checkpoint_at(tmp_path / "run", 9, **before)
    with pytest.raises(ValueError, match=f"as the config's, {types[1]}, but it has no .*Resume with the optimizer"):
        resumed(tmp_path / "resumed", checkpoint, **now)


def test_a_checkpoint_of_a_finished_run_is_reported(tmp_path):
    checkpoint, _ = checkpoint_at(tmp_path / "run", 30)
    _, recorder = resumed(tmp_path / "resumed", checkpoint)
    assert not recorder.iterations and "Nothing to train" in log_of(tmp_path / "resumed")


def test_a_checkpoint_without_a_record_of_its_run_resumes_at_the_beginning_of_the_epoch(tmp_path):
    checkpoint, _ = checkpoint_at(tmp_path / "run", 9)
    contents = torch.load(checkpoint, weights_only=False)
    for key in ("train_loop", "max_iters", "max_epochs"):
        del contents["message_hub"]["runtime_info"][key]
    torch.save(contents, checkpoint)
    _, recorder = resumed(tmp_path / "resumed", checkpoint, batch_size=4)
    assert recorder.iterations == list(range(3, 15))


def test_a_batch_sampler_of_its_own_trains_and_resumes_inexactly(tmp_path):
    class Pairs(torch.utils.data.BatchSampler):
        pass

    sampler = torch.utils.data.SequentialSampler(range(12))
    loader = torch.utils.data.DataLoader(Images(12), batch_sampler=Pairs(sampler, 2, False), collate_fn=pseudo_collate)
    runner, recorder = tiny_runner(tmp_path, train_dataloader=loader)
    runner.train()
    assert recorder.iterations == list(range(30)) and "resumes inexactly" in log_of(tmp_path)
