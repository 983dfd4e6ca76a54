"""A loss that is NaN or infinite stops a run within one logging interval, and no good checkpoint is lost."""

import math

import pytest
import torch
from helpers.tiny_runs import log_of, tiny_runner
from mmengine.hooks import Hook
from torch.utils._python_dispatch import TorchDispatchMode


class Fault(Hook):
    """Multiply the loss of some iterations (from 1), or set the weights after them."""

    priority = "VERY_HIGH"

    def __init__(self, iterations, value: float = math.nan, weights: bool = False) -> None:
        self.iterations, self.value, self.weights = iterations, value, weights

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if not self.weights:
            runner.model.scale = self.value if runner.iter + 1 in self.iterations else 1.0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.weights and runner.iter + 1 in self.iterations:
            with torch.no_grad():
                runner.model.fc.weight.fill_(self.value)


def run(work_dir, fault, action="stop", by_epoch=False, interval=2, **arguments):
    hooks = dict(
        finite_loss=dict(type="mmtl.FiniteLossHook", action=action),
        checkpoint=dict(type="mmtl.CheckpointHook", max_keep_ckpts=2, by_epoch=by_epoch, interval=interval),
    )
    runner, recorder = tiny_runner(work_dir, hooks=hooks, **arguments)
    runner.register_hook(fault)
    return runner, recorder


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("train_cfg", [dict(by_epoch=True, max_epochs=5), dict(by_epoch=False, max_iters=30)])
def test_a_run_stops_within_one_logging_interval_naming_iteration_and_losses(tmp_path, value, train_cfg):
    runner, recorder = run(tmp_path, Fault([8], value), train_cfg=train_cfg, interval=100)
    with pytest.raises(FloatingPointError, match=rf"loss_a {value}.* in iteration 8\."):
        runner.train()
    assert 8 <= len(recorder.iterations) <= 8 + 5


@pytest.mark.parametrize("fault", [Fault([8]), Fault([8], weights=True)], ids=["loss", "weights"])
def test_the_last_finite_checkpoint_is_kept(tmp_path, fault):
    runner, _ = run(tmp_path, fault)
    with pytest.raises(FloatingPointError, match="iter_6.pth"):
        runner.train()
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["iter_4.pth", "iter_6.pth"]
    for path in tmp_path.glob("*.pth"):
        weights = torch.load(path, weights_only=False)["state_dict"].values()
        assert all(weight.isfinite().all() for weight in weights)


@pytest.mark.parametrize("iteration", [6, 30])
def test_an_epoch_that_ends_in_nan_is_neither_validated_nor_saved(tmp_path, iteration):
    runner, recorder = run(tmp_path, Fault([iteration]), by_epoch=True, interval=1)
    with pytest.raises(FloatingPointError, match=f"iteration {iteration}"):
        runner.train()
    assert len(recorder.iterations) == iteration and not (tmp_path / f"epoch_{iteration // 6}.pth").exists()


@pytest.mark.parametrize("wrapper", [dict(), dict(accumulative_counts=2), dict(clip_grad=dict(max_norm=1.0))])
def test_steps_that_are_not_finite_can_be_skipped_and_are_counted(tmp_path, wrapper):
    optim_wrapper = dict(optimizer=dict(type="AdamW", lr=0.01), **wrapper)
    runner, recorder = run(tmp_path, Fault([7, 8, 20]), "skip", optim_wrapper=optim_wrapper)
    runner.train()
    assert len(recorder.iterations) == 30 and runner.model.fc.weight.isfinite().all()
    log = log_of(tmp_path)
    skipped = 2 if "accumulative_counts" in wrapper else 3
    assert "in iteration 7" in log and f"{skipped} optimizer steps skipped" in log
    step = next(iter(runner.optim_wrapper.optimizer.state.values()))["step"]
    assert step == 30 // wrapper.get("accumulative_counts", 1) - skipped


def test_skipping_ends_when_no_loss_is_finite(tmp_path):
    runner, recorder = run(tmp_path, Fault(range(8, 31)), "skip")
    with pytest.raises(FloatingPointError, match="iteration 12"):
        runner.train()
    assert len(recorder.iterations) == 12  # five iterations in a row, as many as a logging interval has


def test_a_short_interval_without_a_finite_loss_is_skipped(tmp_path):
    runner, recorder = run(tmp_path, Fault([6, 11, 12]), "skip")
    runner.train()
    assert len(recorder.iterations) == 30


def test_a_good_run_is_not_read_between_logs(tmp_path):
    runner, _ = run(tmp_path, Fault([]), interval=100)

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            Reads.count += func.overloadpacket.__name__ == "_local_scalar_dense"
            return func(*args, **kwargs or {})

    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "FiniteLossHook")
    original = hook.after_train_iter

    def watched(*args, **kwargs):
        with Reads():
            original(*args, **kwargs)

    hook.after_train_iter = watched
    runner.train()
    assert Reads.count == 0  # losses are fetched as one tensor


def test_an_unknown_action_is_refused(tmp_path):
    with pytest.raises(ValueError, match="action .* 'stop' or 'skip', got 'ignore'"):
        run(tmp_path, Fault([]), "ignore")
