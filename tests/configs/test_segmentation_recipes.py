"""Every segmentation recipe trains and validates at a reduced size."""

from pathlib import Path

import pytest
import torch
from helpers import small_segmentation_recipes as segmentation
from helpers.config_steps import tta_views
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import MODELS


@pytest.fixture(autouse=True)
def plain_config_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Runner prints its config several times; formatting it takes longer than the ten steps."""
    monkeypatch.setattr(Config, "pretty_text", property(lambda config: repr(config.to_dict())))


class Snapshot(Hook):
    """Keep the weights that training starts with."""

    def before_train(self, runner: Runner) -> None:
        self.weights = {name: weight.detach().clone() for name, weight in runner.model.named_parameters()}


@pytest.mark.parametrize("path", segmentation.PATHS, ids=lambda path: path.stem)
def test_ten_steps_lower_the_loss_and_move_every_weight(path: Path, tmp_path: Path) -> None:
    cfg = segmentation.small_recipe(path, tmp_path)
    cfg.train_cfg.update(max_iters=10, val_interval=10)
    cfg.param_scheduler = None
    cfg.optim_wrapper.optimizer.update(lr=2e-3, weight_decay=0.0)  # decay would move weights that do not learn
    cfg.default_hooks.update(logger=dict(type="LoggerHook", interval=1), checkpoint=None)
    for figures in ("visualization", "confusion_matrix"):  # they have tests of their own
        del cfg.default_hooks[figures]
    runner = Runner.from_cfg(cfg)
    start = Snapshot()
    runner.register_hook(start)
    runner.train()
    losses = runner.message_hub.log_scalars["train/loss"].data[0][-10:]
    assert losses[-3:].mean() < losses[0]
    idle = [n for n, weight in runner.model.named_parameters() if weight.equal(start.weights[n])]
    assert not idle
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100


@pytest.mark.parametrize("path", segmentation.PATHS, ids=lambda path: path.stem)
def test_one_flag_tests_the_published_scales_with_and_without_a_flip(path: Path) -> None:
    cfg = Config.fromfile(path)
    scales, flips, *_ = tta_views(cfg)
    resize = [step for step in cfg.test_dataloader.dataset.pipeline if step.type == "Resize"]
    size = resize[0].scale if resize else cfg.model.data_preprocessor.size[::-1]  # (width, height)
    ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert [step.scale for step in scales] == [(int(size[0] * r), int(size[1] * r)) for r in ratios]
    assert [step.prob for step in flips] == [0, 1]
    assert cfg.tta_model.type == "SegTTAModel" and cfg.optim_wrapper.type == "OptimWrapper"  # what --amp replaces
    stride = MODELS.build(cfg.model.backbone).patch_size
    assert cfg.model.test_cfg.size_divisor % stride == 0, "views need not consist of full patches"
    assert cfg.default_hooks.pretrained_weights.type == "mmtl.PretrainedWeightsHook"


def test_layer_decay_slows_each_block_and_leaves_the_head_its_rate() -> None:
    (path,) = (path for path in segmentation.PATHS if "layerdecay" in path.stem)
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope("mmseg"), torch.device("meta"):
        model = MODELS.build(cfg.model)
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    names = {id(weight): name for name, weight in model.named_parameters()}
    groups = {names[id(weight)]: group for group in optimizer.param_groups for weight in group["params"]}
    rates = {name: group["lr"] / 6e-5 for name, group in groups.items()}
    for index in range(16):
        assert rates[f"backbone.blocks.{index}.mlp.fc1.weight"] == pytest.approx(0.9 ** (16 - index))
    assert rates["backbone.pos_embed"] == pytest.approx(0.9**17)
    assert rates["neck.side_layer1.0.weight"] == rates["decode_head.conv_seg.weight"] == pytest.approx(1)
    undecayed = {name for name, group in groups.items() if group["weight_decay"] == 0}
    assert {"backbone.pos_embed", "backbone.cls_token", "backbone.blocks.3.norm1.bias"} <= undecayed
    assert groups["decode_head.conv_seg.weight"]["weight_decay"] == 0.01
