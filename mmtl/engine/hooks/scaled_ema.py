"""An average of the weights over the same share of every run, however many steps the run has."""

import math
from typing import Any

from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.engine.hooks import EMAHook

from mmtl.registry import HOOKS


def scaled_momentum(momentum: float, base_steps: int, steps: int) -> float:
    """Momentum that forgets as much over ``steps`` steps as ``momentum`` does over ``base_steps``.

    (1 - scaled) ** steps = (1 - momentum) ** base_steps.

    Args:
        momentum: share of the new weights at each of ``base_steps`` steps; 1 - decay.
        base_steps: length of the run that ``momentum`` was chosen for.
        steps: length of the run at hand.
    """
    return -math.expm1(base_steps / steps * math.log1p(-momentum))


@HOOKS.register_module()
class ScaledEMAHook(EMAHook):
    """MMPretrain's EMAHook with a momentum that follows the length of the run.

    With a fixed momentum the average of a run on fewer GPUs, with its more and smaller steps, covers fewer images, and
    that of a short run is mostly the first weights. Here it covers the same share of the run. Each iteration updates
    the average, also those of an accumulated gradient, so the share does not depend on the accumulation either.

    A checkpoint that a run starts from (``load_from``, not ``resume``) gives its averaged weights to model and
    average; a classifier of another class count is left as it was initialised, as without the hook.

    Args:
        momentum: 1 - decay of a run of ``base_steps`` iterations.
        base_steps: iterations of the run that ``momentum`` was chosen for.
        **kwargs: of the parent, such as ``update_buffers``, ``begin_epoch`` or ``evaluate_on_origin``.

    Raises:
        ValueError: if ``momentum`` is not between 0 and 1 or ``base_steps`` is not positive.
    """

    def __init__(self, momentum: float, base_steps: int, **kwargs: Any) -> None:
        if not 0 < momentum < 1 or base_steps < 1:
            raise ValueError(
                f"ScaledEMAHook wants 0 < momentum < 1 and base_steps > 0, got momentum={momentum} and "
                f"base_steps={base_steps}; momentum is 1 - decay, such as 8e-5"
            )
        super().__init__(momentum=momentum, **kwargs)
        self.momentum, self.base_steps = momentum, base_steps

    def before_train(self, runner: Runner) -> None:
        """Scale the momentum to the run's number of iterations."""
        super().before_train(runner)
        self.ema_model.momentum = scaled_momentum(self.momentum, self.base_steps, runner.max_iters)
        print_log(
            f"EMA: momentum {self.momentum:g} of {self.base_steps} steps is {self.ema_model.momentum:.4g} for "
            f"{runner.max_iters} steps",
            logger="current",
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take up the average of a resumed run, or begin one from the checkpoint's weights."""
        if runner._resume or self.evaluate_on_origin:
            super().after_load_checkpoint(runner, checkpoint)
        else:  # MMEngine's way leaves the averaged weights in the model and skips weights of another shape
            MMEngineEMAHook.after_load_checkpoint(self, runner, checkpoint)
