"""Self-emerging token labels end to end: the demo's two phases, with labels online and from a store."""

from pathlib import Path

import pytest
import torch
from helpers.paths import ROOT
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtl.annotators.annotator import Inference
from mmtl.annotators.generate import Options
from mmtl.annotators.load import load_annotator
from mmtl.annotators.make_store import make_store, prepare_job
from mmtl.annotators.work_queue import LocalQueue
from mmtl.demo.dataset import Settings, make_demo_data
from mmtl.utils.checkpoint import read_checkpoint

LABELER, STUDENT = (f"configs/demo/lvvit-nano_1xb32-{kind}-6e_demo.py" for kind in ("tokenlabeler", "selflabel"))


class Losses(Hook):
    """Record the losses of every iteration."""

    def __init__(self) -> None:
        self.values = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.values.append({name: value.item() for name, value in outputs.items()})


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("self")
    make_demo_data(root / "data", Settings(num_train=16, num_val=8))
    return root


def config(name: str, root: Path, work_dir: str, **options) -> Config:
    """Return a shipped config of four epochs of two batches on 16 images."""
    cfg = Config.fromfile(ROOT / name)
    cfg.work_dir = str(root / work_dir)
    cfg.train_dataloader.update(batch_size=8, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.data_root = str(root / "data/classification")
    cfg.train_cfg.max_epochs, cfg.param_scheduler = 4, None
    for part in ("val_dataloader", "val_cfg", "val_evaluator", "test_dataloader", "test_cfg", "test_evaluator"):
        cfg[part] = None
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3, max_keep_ckpts=9, save_best=None)
    cfg.custom_hooks = [dict(type="mmtl.ScaledEMAHook", momentum=0.1, base_steps=8)]
    cfg.log_level, cfg.experiment_name = "WARNING", f"{work_dir}_{torch.rand(()).item()}"
    if name == STUDENT:
        cfg.model.annotator.checkpoint = str(root / "labeler/iter_8.pth")
    cfg.merge_from_dict(options)
    return cfg


def train(cfg: Config) -> list[dict[str, float]]:
    runner = Runner.from_cfg(cfg)
    losses = Losses()
    runner.register_hook(losses)
    runner.train()
    return losses.values


@pytest.fixture(scope="module")
def labeler_losses(root) -> list[dict[str, float]]:
    return train(config(LABELER, root, "labeler"))


def test_phase_1_learns_the_class_label_with_the_mean_of_its_patches(root, labeler_losses):
    assert labeler_losses[0]["loss_token"] == pytest.approx(0.5 * labeler_losses[0]["loss_cls"], rel=0.2)
    weights = read_checkpoint(root / "labeler/iter_8.pth")["state_dict"]
    assert weights["head.token_fc.weight"].any()


def test_phase_2_resumes_with_the_same_losses_and_saves_no_annotator(root, labeler_losses):
    losses = train(config(STUDENT, root, "student"))
    assert len(losses) == 8 and all(0 < step["loss_token"] for step in losses)
    saved = read_checkpoint(root / "student/iter_3.pth")
    assert saved["state_dict"].keys() == read_checkpoint(root / "labeler/iter_3.pth")["state_dict"].keys()
    resumed = config(STUDENT, root, "resumed", load_from=str(root / "student/iter_3.pth"), resume=True)
    assert train(resumed) == losses[3:]


def test_phase_2_from_a_store_learns_the_labels_of_full_images(root, labeler_losses):
    labeler = load_annotator(str(ROOT / LABELER), str(root / "labeler/iter_8.pth"), "cpu", Inference(), (64, 80))
    images = root / "data/classification/train"
    make_store(prepare_job(labeler, images, root / "store", Options(workers=0, input_hw=(64, 80))), LocalQueue())
    cfg = config(STUDENT, root, "stored", **{"model.annotator": None, "train_cfg.max_epochs": 1})
    (step,) = (step for step in cfg.train_dataloader.dataset.pipeline if step.type == "mmtl.LoadScoreMap")
    step.store = str(root / "store")
    assert all(0 < step["loss_token"] for step in train(cfg))
