"""Variables that a child config or an option changes are applied to what was derived from them, or reported."""

from pathlib import Path

import pytest
from helpers.paths import ROOT
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmtl.utils.config_file import KEYS_READ, leaf_dataset_cfgs, read_config
from mmtl.utils.config_variables import follow_variables, warn_of_unused

RECIPES = sorted(path for path in (ROOT / "configs").rglob("*.py") if "_base_" not in path.parts)
SEGMENT = ROOT / "configs/lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"
PRETRAIN = ROOT / "configs/lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py"


@pytest.fixture
def warnings(monkeypatch):
    logger, lines = MMLogger.get_instance("config_variables"), []
    monkeypatch.setattr(logger, "handle", lambda r: lines.append(r.getMessage()) if r.levelno >= 30 else None)
    return lines


def child(tmp_path: Path, base: Path, text: str) -> Path:
    path = tmp_path / "child.py"
    path.write_text(f"_base_ = {base.as_posix()!r}\n{text}\n")
    return path


def roots(cfg: Config) -> set[str]:
    loaders = [cfg[f"{name}_dataloader"].dataset for name in ("train", "val", "test")]
    return {leaf.get("data_root") for dataset in loaders for leaf in leaf_dataset_cfgs(dataset)}


def test_recipes_are_consistent_and_follow_their_data_root(warnings):
    for cfg in map(Config.fromfile, RECIPES):
        assert follow_variables(cfg) == [] and roots(cfg) == {cfg.get("data_root")}, cfg.filename
        warn_of_unused(cfg, cfg, KEYS_READ)
        if "data_root" in cfg:  # others name the folders of training and validation
            cfg.data_root = "/mine"
            assert follow_variables(cfg) and roots(cfg) == {"/mine"}, cfg.filename
            warn_of_unused(cfg, cfg, KEYS_READ)
    assert not warnings


@pytest.mark.parametrize("door", ["child", "option"])
@pytest.mark.parametrize(
    "name",
    [
        "lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512",
        "lvvit/lvvit-small_upernet_8xb2-80k_cityscapes-512x1024",
        "lvvit/lvvit-small_upernet_8xb2-40k_voc12aug-512x512",
        "examples/lvvit-nano_upernet_1xb8-1k_camvid-96x96",
    ],
)
def test_every_size_follows_the_crop_size(tmp_path, name, door, warnings):
    base = ROOT / "configs" / f"{name}.py"
    old = Config.fromfile(base)
    if door == "child":
        cfg = read_config(child(tmp_path, base, "crop_size = (256, 320)"))
    else:
        cfg = read_config(base, {"crop_size": [256, 320]})
    steps = [step for leaf in leaf_dataset_cfgs(cfg.train_dataloader.dataset) for step in leaf.pipeline]
    assert {tuple(step.crop_size) for step in steps if "crop_size" in step} == {(256, 320)}
    assert tuple(cfg.model.data_preprocessor.size) == tuple(cfg.model.backbone.img_size) == (256, 320)
    if "stride" in old.model.test_cfg:
        assert tuple(cfg.model.test_cfg.crop_size) == (256, 320) and cfg.model.test_cfg.stride[0] in (170, 171)
    assert not warnings


def test_score_maps_and_a_crop_given_as_one_number_follow(tmp_path, warnings):
    cfg = read_config(PRETRAIN, {"score_maps": "/maps"})
    assert [step.store for step in cfg.train_dataloader.dataset.pipeline if "store" in step] == ["/maps"]
    cfg = read_config(child(tmp_path, SEGMENT, "crop_size = 256"))
    assert cfg.model.test_cfg.crop_size == (256, 256) and cfg.model.test_cfg.stride == (170, 170)
    assert not warnings


def test_a_config_that_was_dumped_or_is_a_grandchild_follows(tmp_path, warnings):
    Config.fromfile(SEGMENT).dump(tmp_path / "dumped.py")
    cfg = read_config(tmp_path / "dumped.py", {"data_root": "/mine", "crop_size": (64, 64)})
    assert roots(cfg) == {"/mine"} and cfg.model.backbone.img_size == (64, 64)
    grandchild = tmp_path / "grandchild.py"
    grandchild.write_text('_base_ = "child.py"\ndata_root = "/b"')
    child(tmp_path, SEGMENT, 'data_root = "/a"')
    assert roots(read_config(grandchild)) == {"/b"} and not warnings


def test_paths_below_a_data_root_follow_and_others_stay(tmp_path, warnings):
    text = 'data_root = "data/x"\ntrain_dataloader = dict(dataset=dict(ann_file="data/x/a", data_root=data_root))\n'
    (tmp_path / "base.py").write_text(text + 'val_dataloader = dict(dataset=dict(data_root="data/x2"))')
    cfg = read_config(tmp_path / "base.py", {"data_root": "data/x/y"})
    assert cfg.train_dataloader.dataset == dict(ann_file="data/x/y/a", data_root="data/x/y")
    assert cfg.val_dataloader.dataset.data_root == "data/x2" and not warnings


def test_computed_values_and_other_formats_follow_an_option(tmp_path, warnings):
    text = 'root = "data"\ndata_root = root + "/x/"\ntrain_dataloader = dict(dataset=dict(data_root=data_root))\n'
    (tmp_path / "computed.py").write_text(text + 'model = dict(init_cfg=dict(checkpoint="data/x/weights.pth"))')
    cfg = read_config(tmp_path / "computed.py", {"data_root": "/mine"})
    assert cfg.train_dataloader.dataset.data_root == "/mine/"
    assert cfg.model.init_cfg.checkpoint == "data/x/weights.pth"  # not a file of the dataset
    Config.fromfile(SEGMENT).dump(tmp_path / "a.json")
    cfg = read_config(tmp_path / "a.json", {"data_root": "/mine", "crop_size": [64, 96]})
    assert roots(cfg) == {"/mine"} and tuple(cfg.model.test_cfg.crop_size) == (64, 96) and not warnings


@pytest.mark.parametrize("value", ["256", (256,), 256.0, (1, 2, 3), True])
def test_a_crop_size_that_is_not_a_size_is_a_warning_and_changes_nothing(warnings, value):
    cfg = read_config(SEGMENT, {"crop_size": value})
    assert cfg.model.backbone.img_size == (512, 512) and len(warnings) == 1


@pytest.mark.parametrize("value", [None, 5, ["a"]])
def test_a_data_root_that_is_not_a_path_is_a_warning_and_changes_nothing(warnings, value):
    cfg = read_config(SEGMENT, {"data_root": value})
    assert roots(cfg) == roots(Config.fromfile(SEGMENT)) and len(warnings) == 1


def test_a_config_of_a_test_only_and_one_in_the_new_style_follow(tmp_path, warnings):
    cfg = read_config(child(tmp_path, SEGMENT, "train_dataloader = None\ntrain_cfg = None"), {"data_root": "/mine"})
    assert cfg.train_dataloader is None and cfg.test_dataloader.dataset.data_root == "/mine"
    text = "from mmengine.dataset import DefaultSampler\n"
    text += 'data_root = "data/x"\n'
    text += "val_dataloader = dict(sampler=dict(type=DefaultSampler), dataset=dict(data_root=data_root))"
    (tmp_path / "lazy.py").write_text(text)
    cfg = read_config(tmp_path / "lazy.py", {"data_root": "/mine"})
    assert cfg.val_dataloader.dataset.data_root == "/mine" and not warnings
    assert "DefaultSampler" in str(cfg.val_dataloader.sampler.type)


def test_what_was_changed_together_with_the_variable_stays_as_it_is(tmp_path):
    options = {"data_root": "/mine", "train_dataloader.dataset.data_root": "/mine"}
    assert roots(read_config(SEGMENT, options)) == {"/mine", Config.fromfile(SEGMENT).data_root}
    options = {"train_dataloader.dataset.data_root": "/mine"}
    assert read_config(SEGMENT, options).val_dataloader.dataset.data_root == Config.fromfile(SEGMENT).data_root


@pytest.mark.parametrize(
    ("base", "text", "reported"),
    [
        (SEGMENT, "train_pipeline = []", "train_pipeline="),
        (SEGMENT, "scale = (1024, 256)", "scale="),
        (PRETRAIN, "img_size = 384", "img_size=384"),
        (SEGMENT, "scale = (1024, 256)\ntest_steps = dict(resize=dict(scale=scale))", "test_steps="),
        (SEGMENT, "my_scale = (1024, 256)", None),
        (SEGMENT, "scale = (1, 1)\nval_dataloader = dict(dataset=dict(pipeline=[dict(scale=scale)]))", None),
        (SEGMENT, "model = dict(backbone=dict(with_cp=True))", None),
    ],
)
def test_a_variable_that_a_child_config_changes_in_vain_is_one_warning(tmp_path, warnings, base, text, reported):
    read_config(child(tmp_path, base, text))
    assert len(warnings) == (reported is not None), warnings
    assert not reported or (reported in warnings[0] and "changes nothing" in warnings[0])
