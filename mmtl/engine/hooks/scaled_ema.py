"""An exponential moving average of the weights over the same share of every run, whatever its number of steps."""

import math
from typing import Any

import torch
from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.logging import print_log
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from mmpretrain.engine.hooks import EMAHook
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mmtl.registry import HOOKS


def scaled_momentum(momentum: float, base_steps: int, steps: int) -> float:
    """Return the momentum that forgets as much over ``steps`` steps as ``momentum`` does over ``base_steps``.

    (1 - scaled) ** steps = (1 - momentum) ** base_steps. The momentum, 1 - decay, is the share of the new weights.
    """
    return -math.expm1(base_steps / steps * math.log1p(-momentum))


class ForeachEMA(ExponentialMovingAverage):
    """mmengine's ExponentialMovingAverage with one operator call for all tensors instead of one for each."""

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the average from the parameters (and buffers, with ``update_buffers``) of a model."""
        # keep_vars avoids one detach for each tensor
        source = model.state_dict(keep_vars=True) if self.update_buffers else dict(model.named_parameters())
        pairs = [(average, source[name]) for name, average in self.avg_parameters.items()]
        steps = int(self.steps)
        if steps == 0:
            copy_all(pairs)
        elif steps % self.interval == 0:
            floating = [(average, new.to(average.device)) for average, new in pairs if average.is_floating_point()]
            get_ema_multi_avg_fn(1 - self.momentum)(*map(list, zip(*floating, strict=True)), steps)
        if not self.update_buffers:
            copy_all(list(zip(self.module.buffers(), model.buffers(), strict=True)))
        self.steps += 1


def copy_all(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Copy the second tensor of every pair into the first."""
    if pairs:
        torch._foreach_copy_(*map(list, zip(*pairs, strict=True)))


@HOOKS.register_module()
class ScaledEMAHook(EMAHook):
    """MMPretrain's EMAHook with a momentum that is scaled to the length of the run.

    With a fixed momentum the average of a run on fewer GPUs, with its more and smaller steps, covers fewer images, and
    that of a short run consists mostly of the initial weights. With the scaled momentum it covers the same share of
    every run. Each iteration updates the average, including those of an accumulated gradient, so the share does not
    depend on the accumulation either.

    A checkpoint that a run starts from (``load_from``, not ``resume``) initializes model and average with its averaged
    weights; a head of another class count keeps its random initialization, as without the hook.

    Args:
        momentum: 1 - decay of a run of ``base_steps`` iterations, between 0 and 1.
        base_steps: iterations of the run that ``momentum`` was chosen for.
        ema_type: averaged model, :class:`ForeachEMA` or one of mmengine's names.
        **kwargs: arguments of the parent, such as ``update_buffers``, ``begin_epoch`` or ``evaluate_on_origin``.
    """

    def __init__(self, momentum: float, base_steps: int, ema_type: str | type = ForeachEMA, **kwargs: Any) -> None:
        if not 0 < momentum < 1 or base_steps < 1:
            raise ValueError(
                "ScaledEMAHook: momentum must be between 0 and 1 and base_steps at least 1, got "
                f"momentum={momentum} and base_steps={base_steps}. Set momentum to 1 - decay, such as 8e-5."
            )
        super().__init__(ema_type=ema_type, momentum=momentum, **kwargs)
        self.momentum, self.base_steps = momentum, base_steps

    def before_train(self, runner: Runner) -> None:
        """Scale the momentum to the run's number of iterations."""
        super().before_train(runner)
        self.ema_model.momentum = scaled_momentum(self.momentum, self.base_steps, runner.max_iters)
        print_log(
            f"EMA: momentum {self.momentum:g} over {self.base_steps} steps corresponds to "
            f"{self.ema_model.momentum:.4g} over {runner.max_iters} steps",
            logger="current",
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Restore the average of a resumed run, or initialize it with the checkpoint's weights."""
        if runner._resume or self.evaluate_on_origin:
            super().after_load_checkpoint(runner, checkpoint)
        else:  # MMPretrain's version leaves the averaged weights in the model and skips weights of another shape
            MMEngineEMAHook.after_load_checkpoint(self, runner, checkpoint)
