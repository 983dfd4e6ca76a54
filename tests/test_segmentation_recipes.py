"""Every segmentation recipe trains and validates, in small."""

from pathlib import Path

import pytest
import segmentation
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner


@pytest.fixture(autouse=True)
def plain_config_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Runner prints its config several times; formatting it takes longer than the ten steps."""
    monkeypatch.setattr(Config, "pretty_text", property(lambda config: repr(config.to_dict())))


class Snapshot(Hook):
    """Keeps the weights that training begins with."""

    def before_train(self, runner: Runner) -> None:
        self.weights = {name: weight.detach().clone() for name, weight in runner.model.named_parameters()}


@pytest.mark.parametrize("path", segmentation.PATHS, ids=lambda path: path.stem)
def test_ten_steps_lower_the_loss_and_move_every_weight(path: Path, tmp_path: Path) -> None:
    cfg = segmentation.small_recipe(path, tmp_path)
    cfg.train_cfg.update(max_iters=10, val_interval=10)
    cfg.param_scheduler = None
    cfg.optim_wrapper.optimizer.update(lr=2e-3, weight_decay=0.0)  # decay would move weights that do not learn
    cfg.default_hooks.update(logger=dict(type="LoggerHook", interval=1), checkpoint=None)
    for pictures in ("visualization", "confusion_matrix"):  # they have tests of their own
        del cfg.default_hooks[pictures]
    runner = Runner.from_cfg(cfg)
    start = Snapshot()
    runner.register_hook(start)
    runner.train()
    losses = runner.message_hub.log_scalars["train/loss"].data[0][-10:]
    assert losses[-3:].mean() < losses[0]
    idle = [n for n, weight in runner.model.named_parameters() if weight.equal(start.weights[n])]
    assert not idle
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100
