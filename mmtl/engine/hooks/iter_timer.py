import time
from types import SimpleNamespace
from typing import Any

from mmengine import hooks
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from mmtl.registry import HOOKS

CLOCK = SimpleNamespace(time=time.monotonic)


@HOOKS.register_module()
class IterTimerHook(hooks.IterTimerHook):
    """Log mmengine's iteration times (time, data_time, eta) and the images per second of all ranks.

    Most iterations do not wait for the GPU and end before it has finished, so the rate is that of the log's window.
    """

    def __init__(self) -> None:
        super().__init__()
        # MMEngine takes differences of the time of day, which are wrong or negative when the clock is set.
        hooks.iter_timer_hook.time = CLOCK

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Log the iteration's time, and the rate over the window of the log."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        images = len(data_batch["inputs"]) * get_world_size()
        seconds = runner.message_hub.get_scalar("train/time").mean(runner.log_processor.window_size)
        runner.message_hub.update_scalar("train/images_per_s", images / seconds)
