"""``--cfg-options compile=True`` compiles the model, and the Runner trains as without it."""

import pytest
import torch
from helpers.config_steps import find_step
from helpers.paths import ROOT
from helpers.synthetic_data import write_classification_data
from mmengine.config import Config
from mmengine.runner import Runner
from torch._dynamo.utils import counters


def train(work_dir, data_root, **options):
    """Losses of four steps of the CIFAR-10 recipe with token labels and MixToken."""
    cfg = Config.fromfile(ROOT / "configs/own_data/lvvit-nano_1xb128-tokenlabel-mixtoken-3e_cifar10.py")
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
