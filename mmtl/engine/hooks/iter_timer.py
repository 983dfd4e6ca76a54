from typing import Any

from mmengine import hooks
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from mmtl.registry import HOOKS


@HOOKS.register_module()
class IterTimerHook(hooks.IterTimerHook):
    """Log mmengine's iteration times (time, data_time, eta) and the images per second of all ranks."""

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Log the iteration's time and the rate that follows from it."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        images = len(data_batch["inputs"]) * get_world_size()
        seconds = runner.message_hub.get_scalar("train/time").current()
        runner.message_hub.update_scalar("train/images_per_s", images / seconds)
