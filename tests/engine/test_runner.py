"""The Runner of the recipes applies what a config's author meant, and names a missing data folder."""

import pytest
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT
from helpers.tiny_runs import log_of
from mmengine.config import Config
from mmengine.registry import RUNNERS, DefaultScope

from mmtl.engine.runner import Runner


@pytest.fixture
def cfg(tmp_path):
    """Return the config of a small segmentor whose data are in a variable, as the train scripts read it."""
    tiny.write_data(tmp_path)
    path = tiny.write_config(tmp_path)
    root = tmp_path.as_posix()
    path.write_text(f'data_root = "{root}"\n' + path.read_text().replace(f'data_root="{root}"', "data_root=data_root"))
    cfg = Config.fromfile(path)
    runtime = Config.fromfile(ROOT / "configs/_base_/segment_runtime.py")
    cfg.runner_type, cfg.default_hooks = runtime.runner_type, runtime.default_hooks
    cfg.default_hooks.visualization.draw = False
    cfg.work_dir, cfg.experiment_name = str(tmp_path / "run"), f"runner_{tmp_path.name}"
    cfg.visualizer.name = cfg.experiment_name
    return cfg


@pytest.mark.parametrize(
    "options", [dict(persistent_workers=True), dict(prefetch_factor=2, timeout=5, multiprocessing_context="fork")]
)
@pytest.mark.parametrize("name", ["train", "val"])
def test_options_of_workers_are_left_out_without_workers(cfg, name, options):
    cfg[f"{name}_dataloader"].update(options, num_workers=0)
    runner = RUNNERS.build(cfg)
    assert type(runner) is Runner
    runner.train()
    assert runner.iter == 2 and not runner.train_dataloader.persistent_workers


def test_options_of_workers_are_left_out_of_a_test_and_kept_with_workers(cfg, tmp_path):
    cfg.load_from = str(tiny.save_checkpoint(tmp_path / "tiny.py", tmp_path / "a.pth"))
    cfg.test_dataloader.update(persistent_workers=True)
    assert "mIoU" in RUNNERS.build(cfg).test()
    loader = dict(cfg.train_dataloader, num_workers=1, persistent_workers=True, timeout=5)
    with DefaultScope.overwrite_default_scope("mmseg"):
        built = Runner.build_dataloader(loader)
    assert built.persistent_workers and built.timeout == 5


def test_a_data_root_and_a_crop_size_that_are_changed_after_the_file_are_used(cfg, tmp_path):
    tiny.write_data(tmp_path / "other")
    cfg.data_root = str(tmp_path / "other")
    runner = RUNNERS.build(cfg)
    runner.train()
    assert {runner.train_dataloader.dataset.data_root, runner.val_dataloader.dataset.data_root} == {cfg.data_root}
    assert runner.cfg.test_dataloader.dataset.data_root == cfg.data_root
    log = log_of(tmp_path / "run")
    assert "data_root='" in log and "is used in train_dataloader" in log and "changes nothing" not in log


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_data_folder_that_does_not_exist_is_named_with_the_remedy(cfg, tmp_path, name):
    cfg[f"{name}_dataloader"].dataset.data_root = str(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="gone does not exist.* data_root=FOLDER"):
        RUNNERS.build(cfg).train()
    cfg[f"{name}_dataloader"].dataset.update(data_root=str(tmp_path), data_prefix=dict(img_path="images/gone"))
    with pytest.raises(FileNotFoundError, match="images/gone does not exist.* data_root=FOLDER"):
        RUNNERS.build(cfg).train()


@pytest.mark.parametrize(
    "name", ["lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k", "examples/resnet-nano_1xb128-8e_cifar10"]
)
def test_the_folders_of_the_classification_recipes_are_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(ROOT / f"configs/{name}.py")
    with DefaultScope.overwrite_default_scope("mmpretrain"), pytest.raises(FileNotFoundError, match=cfg.data_root):
        Runner.build_dataloader(cfg.train_dataloader)
