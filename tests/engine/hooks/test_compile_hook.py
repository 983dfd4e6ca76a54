"""``--cfg-options compile=True`` compiles the model, and the Runner trains as without it."""

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from helpers.config_steps import find_step
from helpers.paths import ROOT
from helpers.synthetic_data import write_classification_data
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from mmtl.engine.hooks import CompileHook


def train(work_dir, data_root, **options):
    """Losses of four steps of the CIFAR-10 recipe with token labels and MixToken."""
    cfg = Config.fromfile(ROOT / "configs/examples/lvvit-nano_1xb128-tokenlabel-mixtoken-3e_cifar10.py")
    dataset = cfg.train_dataloader.dataset
    dataset.data_root = str(data_root / "images")
    find_step(dataset.pipeline, "mmtl.LoadScoreMap").update(
        store=str(data_root / "score_maps"), image_root=str(data_root / "images/train")
    )
    cfg.model.head.num_classes = 10
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=4, val_interval=500)
    cfg.param_scheduler = cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.default_hooks = dict(
        logger=dict(type="LoggerHook", interval=1), checkpoint=None, compile=cfg.default_hooks.compile
    )
    cfg.custom_hooks, cfg.work_dir, cfg.experiment_name = [], str(work_dir), f"compile_{work_dir.name}"
    cfg.randomness = dict(seed=0)
    cfg.merge_from_dict(options)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return [float(loss) for loss in runner.message_hub.log_scalars["train/loss"].data[0]]


def test_the_runner_compiles_the_losses_once_and_trains_as_without(tmp_path):
    write_classification_data(tmp_path / "data")
    eager = train(tmp_path / "eager", tmp_path / "data")
    torch._dynamo.reset()
    counters.clear()
    compiled = train(tmp_path / "compiled", tmp_path / "data", compile=dict(backend="aot_eager", fullgraph=True))
    assert compiled == pytest.approx(eager, rel=1e-4)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


class Segmentor(nn.Module):
    """The parts of MMSegmentation's models, called as it calls them: heads by ``forward`` from their loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.decode_head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.auxiliary_head, self.neck = nn.ModuleList([nn.Linear(8, 3)]), None

    def forward(self, x):
        features = self.backbone(x)
        return self.decode_head.forward(features) + self.auxiliary_head[0].forward(features)


def test_of_a_segmentor_backbone_and_heads_are_compiled_for_training_and_copies_use_their_own_weights():
    torch._dynamo.reset()
    backend, model, x = CompileCounter(), Segmentor(), torch.randn(2, 4)
    expected = model(x)
    runner = SimpleNamespace(cfg=ConfigDict(compile=dict(backend=backend)), model=model, logger=logging.getLogger())
    CompileHook().before_run(runner)
    assert runner.cfg.compile is False
    torch.testing.assert_close(model(x), expected)
    assert backend.frame_count == 2  # the heads share theirs
    copied = copy.deepcopy(model)
    nn.init.zeros_(model.backbone.weight)
    torch.testing.assert_close(copied(x), expected)
    assert not torch.allclose(model(x), expected)
    assert model.state_dict().keys() == Segmentor().state_dict().keys()
    compiled_so_far = backend.frame_count
    model.eval()(torch.randn(5, 7, 4))
    assert backend.frame_count == compiled_so_far
