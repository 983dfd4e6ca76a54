"""Stop a run whose loss is NaN or infinite, or skip such steps, without waiting for the device in every iteration."""

from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim import Optimizer

from mmtl.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop training within one logging interval of a loss that is NaN or infinite, naming iteration and losses.

    The losses of an interval are read together, when the log reads them anyway. mmtl.CheckpointHook does not replace
    a checkpoint by weights that are not finite, so the last good one is kept.

    Args:
        action: "stop", or "skip" to leave out the optimizer steps whose gradients are not finite, which are counted
            in the log. Skipping waits for the device before every step. A run still stops if a logging interval has
            no finite loss.
    """

    def __init__(self, action: str = "stop") -> None:
        if action not in ("stop", "skip"):
            raise ValueError(f"action of FiniteLossHook must be 'stop' or 'skip', got {action!r}.")
        self.action, self.interval, self.checked = action, 50, 0
        self.skipped, self.bad_in_a_row = 0, 0  # optimizer steps, iterations

    def before_train(self, runner: Runner) -> None:
        """Find the logging interval, and let the optimizer skip steps if set."""
        self.interval = min(
            (hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), default=self.interval
        )
        self.checked = runner.iter
        if self.action == "skip":
            runner.optim_wrapper.optimizer.register_step_pre_hook(self._drop_gradients)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Check the losses of a logging interval."""
        done = runner.iter + 1
        if self.every_n_inner_iters(batch_idx, self.interval) or done == runner.max_iters:
            self._check(runner, done)

    def after_train_epoch(self, runner: Runner) -> None:
        """Check the losses since the last interval, before the epoch is validated and saved."""
        self._check(runner, runner.iter)

    def _check(self, runner: Runner, done: int) -> None:
        """Check the losses of the iterations between the last check and the ``done`` ones."""
        count, self.checked = done - self.checked, done
        if not count:
            return
        scalars = runner.message_hub.log_scalars
        losses = {
            key.removeprefix("train/"): scalars[key].data[0][-count:]
            for key in scalars
            if key.startswith("train/") and "loss" in key
        }
        text, trailing = find_non_finite(losses, done)
        self.bad_in_a_row = trailing + self.bad_in_a_row * (trailing == count)
        if text is None:
            return
        if self.action == "skip" and self.bad_in_a_row < self.interval:
            runner.logger.warning(f"{text}; {self.skipped} optimizer steps skipped in this run.")
            return
        saved = runner.message_hub.runtime_info.get("last_ckpt")
        raise FloatingPointError(
            f"Losses must be finite, got {text}. Lower the learning rate or check the data, and resume from the last "
            f"checkpoint ({saved or 'none was saved'}); default_hooks.finite_loss.action=skip skips such steps."
        )

    def _drop_gradients(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        """Make an optimizer leave out a step, as it does for parameters without a gradient."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not are_finite([p.grad for p in parameters]):
            self.skipped += 1
            for parameter in parameters:
                parameter.grad = None


def find_non_finite(losses: dict[str, np.ndarray], done: int) -> tuple[str | None, int]:
    """Return the first iteration (from 1) with a loss that is not finite in words, and how many such end the losses.

    Args:
        losses: the last values of each loss, up to iteration ``done``.
        done: number of iterations trained.
    """
    length = min(map(len, losses.values()), default=0)
    table = np.array([values[len(values) - length :] for values in losses.values()], dtype=float).reshape(-1, length)
    finite = np.isfinite(table).all(axis=0)
    if finite.all():
        return None, 0
    first, trailing = int(finite.argmin()), int(finite[::-1].argmax() if finite.any() else length)
    values = ", ".join(f"{name} {value:.4g}" for name, value in zip(losses, table[:, first], strict=True))
    return f"{values} in iteration {done - length + first + 1}", trailing


def are_finite(tensors: list[Tensor]) -> bool:
    """Return whether all values of floating-point tensors are finite."""
    return not tensors or bool(torch.stack([n.float() for n in torch._foreach_norm(tensors)]).isfinite().all())


def check_weights(model: nn.Module, saved: str | None) -> None:
    """Raise an error if a parameter or averaged statistic of a model is not finite."""
    floating = {name: value for name, value in model.named_parameters() if value.is_floating_point()}
    floating |= {
        name: value for name, value in model.named_buffers() if name.endswith(("running_mean", "running_var"))
    }
    if not are_finite([value.detach() for value in floating.values()]):
        name = next(name for name, value in floating.items() if not value.isfinite().all())
        raise FloatingPointError(
            f"Weights must be finite to be saved, got NaN or infinity in {name}. The training diverged: lower the "
            f"learning rate or check the data, and resume from the last checkpoint ({saved or 'none was saved'})."
        )
