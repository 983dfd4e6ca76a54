from typing import Any

from mmengine import hooks
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from mmtl.registry import HOOKS


@HOOKS.register_module()
class IterTimerHook(hooks.IterTimerHook):
    """mmengine's IterTimerHook (time, data_time, eta) that also logs the images per second of all processes."""

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Turns the time that the parent has just measured into a rate."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        images = len(data_batch["inputs"]) * get_world_size()
        seconds = runner.message_hub.get_scalar("train/time").current()
        runner.message_hub.update_scalar("train/images_per_s", images / seconds)
