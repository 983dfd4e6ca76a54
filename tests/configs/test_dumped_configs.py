"""The config that a run dumps works as the run did, also with every type as the full path of its class."""

import numpy as np
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT
from helpers.synthetic_data import write_classification_data
from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmtl.apis.check_segmentation import check_segmentation
from mmtl.apis.segment import segment
from mmtl.utils.type_name import type_path

REGISTRIES = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]


def with_full_paths(value, scope):
    """Replace every type of a config by its full path; names such as "Pretrained" and "LN" are not registered so."""
    if isinstance(value, (list, tuple)):
        return type(value)(with_full_paths(item, scope) for item in value)
    if not isinstance(value, dict):
        return value
    value = {key: with_full_paths(item, scope) for key, item in value.items()}
    if isinstance(value.get("type"), str):
        with DefaultScope.overwrite_default_scope(scope):
            found = (each.switch_scope_and_registry(scope) for each in REGISTRIES)
            kinds = [registry_.get(value["type"]) for registry_ in map(lambda c: c.__enter__(), found)]
        kind = next((kind for kind in kinds if isinstance(kind, type)), None)
        value["type"] = type_path(kind) if kind and kind.__name__ == value["type"].split(".")[-1] else value["type"]
    return value


def run_again(config, tmp_path):
    """Train, and train again with the config that the run has dumped, all types in full."""
    config.work_dir = str(tmp_path / "first")
    Runner.from_cfg(config).train()
    dumped = Config.fromfile(next((tmp_path / "first").glob("**/config.py")))
    again = Config(with_full_paths(dumped.to_dict(), dumped.default_scope))
    again.work_dir, again.experiment_name = str(tmp_path / "second"), f"{config.experiment_name}_again"
    assert again.model.type.count(".") > 1 and again.train_dataloader.dataset.type.count(".") > 1
    again.dump(tmp_path / "again.py")
    runner = Runner.from_cfg(again)
    runner.train()
    return runner


def test_a_segmentation_run_and_its_tools(tmp_path):
    tiny.write_data(tmp_path)
    config = Config.fromfile(tiny.write_config(tmp_path))
    config.experiment_name = f"dumped_{tmp_path.name}"
    config.default_hooks = Config.fromfile(ROOT / "configs/_base_/segment_runtime.py").default_hooks
    run_again(config, tmp_path)
    splits = check_segmentation(tmp_path / "again.py", jobs=1)
    assert splits[0].pixels[:3].all() and not splits[0].problems
    assert segment(tmp_path / "again.py", "random", [tmp_path / "images/val"], tmp_path / "out") == (3, {})


def test_a_pretraining_run(tmp_path):
    write_classification_data(tmp_path)
    config = Config.fromfile(ROOT / "configs/demo/lvvit-nano_1xb32-tokenlabel-6e_demo.py")
    train = config.train_dataloader
    train.update(num_workers=0, persistent_workers=False, batch_size=8)
    train.dataset.update(data_root=str(tmp_path / "images"), data_prefix="train")
    config.model.data_preprocessor.tail = "zero_logit"
    config.model.data_preprocessor.pop("num_classes", None)  # filled in from the head
    train.collate_fn.num_classes = config.model.head.num_classes = 10
    for step in train.dataset.pipeline:
        if "LoadScoreMap" in step.type:
            step.update(store=str(tmp_path / "score_maps"), image_root=str(tmp_path / "images/train"), num_classes=10)
    config.train_cfg.max_epochs = 1
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    config.experiment_name = f"dumped_{tmp_path.name}"
    runner = run_again(config, tmp_path)
    preprocessor = runner.model.data_preprocessor
    assert preprocessor.num_classes == 10 and preprocessor.token_stride
    assert np.isfinite(runner.message_hub.get_scalar("train/loss_token").current())
