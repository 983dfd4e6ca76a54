"""The average of the weights covers the same share of every run, and starts from a checkpoint as the model does."""

from types import SimpleNamespace

import pytest
import torch
from helpers.dispatch import Operators
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import HOOKS
from torch import nn

from mmtl.engine.hooks import scaled_momentum
from mmtl.engine.hooks.scaled_ema import ForeachEMA
from mmtl.models import LVViT

BASE_STEPS = 388_120


def hook_of(model: nn.Module, steps: int, resume: bool = False, **arguments: object):
    hook = HOOKS.build(dict(type="mmtl.ScaledEMAHook", momentum=8e-5, base_steps=BASE_STEPS, **arguments))
    runner = SimpleNamespace(model=model, max_iters=steps, max_epochs=1, iter=0, epoch=0, _resume=resume)
    hook.before_run(runner)
    return hook, runner


def average_of(path, steps: int) -> float:
    """Return the average of a weight after a run in which it follows ``path``, a function of the share done."""
    model = nn.Linear(1, 1, bias=False)
    hook, runner = hook_of(model, steps)
    hook.before_train(runner)
    for step in range(steps):
        model.weight.data.fill_(path((step + 1) / steps))
        hook.after_train_iter(runner, step)
    return hook.ema_model.module.weight.item()


def test_momentum_is_unchanged_at_the_length_that_it_was_chosen_for():
    assert scaled_momentum(8e-5, BASE_STEPS, BASE_STEPS) == pytest.approx(8e-5, rel=1e-12)


@pytest.mark.parametrize("steps", [100, 1252, BASE_STEPS // 2, 16 * BASE_STEPS])
def test_runs_of_every_length_forget_the_same_share(steps):
    assert (1 - scaled_momentum(8e-5, BASE_STEPS, steps)) ** steps == pytest.approx((1 - 8e-5) ** BASE_STEPS, rel=1e-6)


def test_average_follows_the_same_curve_in_long_and_short_runs():
    """Half the batch is twice the steps: the average lags behind by the same 3.2 % of the run."""
    short, long = (average_of(lambda share: 10 * share, steps) for steps in (1000, 2000))
    assert short == pytest.approx(long, abs=0.01)
    assert short == pytest.approx(10 * (1 - 1 / (8e-5 * BASE_STEPS)), abs=0.02)


def test_average_of_a_short_run_is_not_dominated_by_its_initial_weights():
    assert average_of(lambda share: 1.0 if share > 0.5 else -1.0, 20) > 0.99


def test_checkpoint_of_another_class_count_leaves_the_head_at_its_initialization():
    old, new = (nn.ModuleDict({"body": nn.Linear(4, 4), "head": nn.Linear(4, k)}) for k in (10, 3))
    trained, _ = hook_of(old, 1)
    checkpoint = {"state_dict": dict(old.state_dict()), "ema_state_dict": dict(trained.ema_model.state_dict())}
    checkpoint["state_dict"]["body.bias"] = torch.ones(4)  # checkpoints save the average here
    hook, runner = hook_of(new, 1)
    hook.after_load_checkpoint(runner, checkpoint)
    average = hook.ema_model.module.state_dict()
    torch.testing.assert_close(average["body.bias"], torch.ones(4))
    torch.testing.assert_close(average["head.weight"], new["head"].weight)
    torch.testing.assert_close(checkpoint["state_dict"]["body.bias"], torch.ones(4))  # loaded into the model


def test_resumed_run_continues_its_average():
    model = nn.Linear(2, 2)
    first, runner = hook_of(model, 10)
    first.before_train(runner)
    first.after_train_iter(runner, 0)
    first.ema_model.module.weight.data.fill_(7.0)
    checkpoint = {"state_dict": dict(model.state_dict())}
    first.before_save_checkpoint(runner, checkpoint)
    assert (checkpoint["state_dict"]["weight"] == 7).all()
    second, runner = hook_of(nn.Linear(2, 2), 10, resume=True)
    second.after_load_checkpoint(runner, checkpoint)
    assert (second.ema_model.module.weight == 7).all() and second.ema_model.steps == 1
    torch.testing.assert_close(checkpoint["state_dict"]["weight"], model.weight.data)


@pytest.mark.parametrize("arguments", [dict(momentum=0.0), dict(momentum=1.0), dict(base_steps=0)])
def test_invalid_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="momentum must be between 0 and 1 and base_steps at least 1"):
        HOOKS.build(dict(dict(type="mmtl.ScaledEMAHook", momentum=8e-5, base_steps=1), **arguments))


@pytest.mark.parametrize("update_buffers", [False, True])
def test_an_update_of_lvvit_small_takes_at_most_ten_operators(update_buffers):
    model = LVViT("small")
    average = ForeachEMA(model, update_buffers=update_buffers)
    for _ in range(2):  # the first update copies
        with Operators() as operators:
            average.update_parameters(model)
        assert 0 < len(operators.calls) <= 10


class WithBuffers(nn.Module):
    """A model with floating-point and integer buffers, one of them not in the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.half = nn.BatchNorm1d(3), nn.Linear(3, 2).double()
        self.register_buffer("scratch", torch.zeros(2), persistent=False)


@pytest.mark.parametrize("update_buffers", [False, True])
@pytest.mark.parametrize("interval", [1, 2])
def test_average_equals_mmengines_tensor_by_tensor_average(update_buffers, interval):
    torch.manual_seed(0)
    model = WithBuffers()
    arguments = dict(momentum=0.1, interval=interval, update_buffers=update_buffers)
    ours, theirs = ForeachEMA(model, **arguments), ExponentialMovingAverage(model, **arguments)
    for step in range(5):
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data.copy_(torch.randn(tensor.shape) * 10 + step)
        for average in (ours, theirs):
            average.update_parameters(model)
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for name, tensor in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-6, atol=1e-6, msg=name)
    assert ours.steps == 5 and not any(tensor.requires_grad for tensor in ours.state_dict().values())
