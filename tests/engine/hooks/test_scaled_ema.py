"""The average of the weights covers the same share of every run, and starts from a checkpoint as the model does."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import HOOKS
from torch import nn

from mmtl.engine.hooks import scaled_momentum

BASE_STEPS = 388_120


def hook_of(model: nn.Module, steps: int, resume: bool = False, **arguments: object):
    hook = HOOKS.build(dict(type="mmtl.ScaledEMAHook", momentum=8e-5, base_steps=BASE_STEPS, **arguments))
    runner = SimpleNamespace(model=model, max_iters=steps, max_epochs=1, iter=0, epoch=0, _resume=resume)
    hook.before_run(runner)
    return hook, runner


def average_of(path, steps: int) -> float:
    """What the average of a weight is at the end of a run in which it follows ``path`` of the run's share done."""
    model = nn.Linear(1, 1, bias=False)
    hook, runner = hook_of(model, steps)
    hook.before_train(runner)
    for step in range(steps):
        model.weight.data.fill_(path((step + 1) / steps))
        hook.after_train_iter(runner, step)
    return hook.ema_model.module.weight.item()


def test_momentum_is_the_given_one_at_the_length_that_it_was_chosen_for():
    assert scaled_momentum(8e-5, BASE_STEPS, BASE_STEPS) == pytest.approx(8e-5, rel=1e-12)


@pytest.mark.parametrize("steps", [100, 1252, BASE_STEPS // 2, 16 * BASE_STEPS])
def test_every_run_forgets_as_much_as_the_one_that_the_momentum_was_chosen_for(steps):
    assert (1 - scaled_momentum(8e-5, BASE_STEPS, steps)) ** steps == pytest.approx((1 - 8e-5) ** BASE_STEPS, rel=1e-6)


def test_average_follows_the_same_curve_in_long_and_short_runs():
    """Half the batch is twice the steps: the average lags behind by the same 3.2 % of the run."""
    short, long = (average_of(lambda share: 10 * share, steps) for steps in (1000, 2000))
    assert short == pytest.approx(long, abs=0.01)
    assert short == pytest.approx(10 * (1 - 1 / (8e-5 * BASE_STEPS)), abs=0.02)


def test_run_of_few_steps_is_not_mostly_its_first_weights():
    assert average_of(lambda share: 1.0 if share > 0.5 else -1.0, 20) > 0.99


def test_checkpoint_of_another_class_count_leaves_that_head_as_it_was_initialised():
    old, new = (nn.ModuleDict({"body": nn.Linear(4, 4), "head": nn.Linear(4, k)}) for k in (10, 3))
    trained, _ = hook_of(old, 1)
    checkpoint = {"state_dict": dict(old.state_dict()), "ema_state_dict": dict(trained.ema_model.state_dict())}
    checkpoint["state_dict"]["body.bias"] = torch.ones(4)  # what is saved there is the average
    hook, runner = hook_of(new, 1)
    hook.after_load_checkpoint(runner, checkpoint)
    average = hook.ema_model.module.state_dict()
    torch.testing.assert_close(average["body.bias"], torch.ones(4))
    torch.testing.assert_close(average["head.weight"], new["head"].weight)
    torch.testing.assert_close(checkpoint["state_dict"]["body.bias"], torch.ones(4))  # goes on into the model


def test_resumed_run_takes_up_its_average():
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
def test_arguments_that_make_no_average_are_refused(arguments):
    with pytest.raises(ValueError, match="momentum is 1 - decay"):
        HOOKS.build(dict(dict(type="mmtl.ScaledEMAHook", momentum=8e-5, base_steps=1), **arguments))
