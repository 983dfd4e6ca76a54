"""Weights of a checkpoint are used or refused, and what a backbone lacks is named."""

import itertools

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from mmtl.engine.hooks.pretrained_weights import PretrainedWeightsHook, check_share, lacking_initial

names = itertools.count()
VIT = dict(arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=96), patch_size=8, img_size=32)
HEAD = dict(type="FCNHead", in_channels=24, channels=8, num_convs=1, num_classes=3, norm_cfg=dict(type="BN"))
MMSEG = dict(embed_dims=24, num_layers=2, num_heads=2, mlp_ratio=4, patch_size=8, img_size=32, out_indices=(1,))
LVVIT = dict(
    type="mmtl.LVViT",
    arch=dict(
        embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48, stem_channels=None, residual_divisor=1
    ),
    patch_size=8,
    img_size=32,
)


def run_of(backbone, tmp_path, **model):
    parts = dict(backbone=backbone, decode_head=HEAD, test_cfg=dict(mode="whole"), **model)
    model = ConfigDict(type="EncoderDecoder", **parts)
    hooks = [dict(type="mmtl.PretrainedWeightsHook")]
    name = f"partial_{next(names)}"
    return Runner(model=model, work_dir=str(tmp_path), default_scope="mmseg", custom_hooks=hooks, experiment_name=name)


def train_hook(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, PretrainedWeightsHook))


def save(backbone, path, prefix="backbone.", **changed):
    """Save random weights of a backbone as those of a complete model."""
    torch.manual_seed(3)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        state = MODELS.build(backbone).state_dict()
    state = {prefix + name: torch.randn_like(value) for name, value in state.items()}
    torch.save({"state_dict": {k: v for k, v in state.items() if k not in changed.get("without", ())}}, path)
    return state


def test_a_vit_checkpoint_in_mmsegmentations_vit_is_refused_naming_the_right_type(tmp_path):
    state = save(dict(type="VisionTransformer", **VIT), tmp_path / "vit.pth")
    with pytest.raises(ValueError, match=r"only \d+% of .*attn.*backbone.type='mmpretrain.VisionTransformer'"):
        run_of(dict(type="VisionTransformer", **MMSEG), tmp_path).load_checkpoint(str(tmp_path / "vit.pth"))
    right = dict(type="mmpretrain.VisionTransformer", out_type="featmap", **VIT)
    runner = run_of(right, tmp_path)
    runner.load_checkpoint(str(tmp_path / "vit.pth"))
    assert all(torch.equal(runner.model.state_dict()[name], value) for name, value in state.items())


def test_a_missing_weight_of_the_backbone_is_a_warning_that_names_it(tmp_path):
    save(LVVIT, tmp_path / "part.pth", without=["backbone.norm.weight"])
    runner, lines = run_of(LVVIT | dict(out_type="featmap"), tmp_path), []
    runner.load_checkpoint(str(tmp_path / "part.pth"))
    runner.logger.warning = lines.append
    train_hook(runner).before_train(runner)
    assert len(lines) == 1 and "lacks keep their initial values: backbone.norm.weight." in lines[0]


def test_a_weight_of_another_shape_counts_as_missing_unless_the_backbone_resizes_it(tmp_path):
    swin = dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), out_indices=(3,))
    other = dict(type="mmseg.SwinTransformer", window_size=4, **swin)
    with DefaultScope.overwrite_default_scope("mmseg"):
        state = MODELS.build(other).state_dict()
    torch.save({"state_dict": {f"backbone.{name}": value for name, value in state.items()}}, tmp_path / "swin.pth")
    model = dict(type="EncoderDecoder", decode_head=HEAD | dict(in_channels=64), test_cfg=dict(mode="whole"))
    runner = Runner(
        model=model | dict(backbone=other | dict(window_size=7)),
        work_dir=str(tmp_path),
        default_scope="mmseg",
        custom_hooks=[dict(type="mmtl.PretrainedWeightsHook")],
        experiment_name=f"partial_{next(names)}",
    )
    runner.load_checkpoint(str(tmp_path / "swin.pth"))
    lines = []
    runner.logger.warning = lines.append
    train_hook(runner).before_train(runner)
    assert "relative_position_bias_table" in lines[0]


@pytest.mark.parametrize("prefix", ["backbone.", ""])
@pytest.mark.parametrize("img_size", [32, 48])
def test_model_pretrained_loads_the_backbone_of_a_complete_model_or_its_own_file(tmp_path, prefix, img_size):
    state = save(LVVIT, tmp_path / "whole.pth", prefix)
    backbone = LVVIT | dict(out_type="featmap", img_size=img_size)
    runner = run_of(backbone, tmp_path, pretrained=str(tmp_path / "whole.pth"))
    runner._init_model_weights()
    loaded = runner.model.backbone.state_dict()
    for name, value in state.items():
        if "pos_embed" not in name or img_size == 32:
            assert torch.equal(loaded[name.removeprefix("backbone.")], value), name


def test_model_pretrained_without_a_backbone_is_refused(tmp_path):
    torch.save({"state_dict": {"head.fc.weight": torch.zeros(3)}}, tmp_path / "head.pth")
    with pytest.raises(ValueError, match="no weight of the backbone"):
        run_of(LVVIT, tmp_path, pretrained=str(tmp_path / "head.pth"))._init_model_weights()


def test_the_share_counts_values_and_not_names():
    expected = {"backbone.large": torch.zeros(95), "backbone.a": torch.zeros(2), "backbone.b": torch.zeros(3)}
    check_share(torch.nn.Identity(), expected, ["backbone.a", "backbone.b"], [])
    with pytest.raises(ValueError, match="only 5%"):
        check_share(torch.nn.Identity(), expected, ["backbone.large"], ["backbone.huge"])


def start(runner):
    """Initialize the weights as a training run does, and return what the hook warns about."""
    lines = []
    runner._init_model_weights()
    runner.logger.warning = lines.append
    train_hook(runner).before_train(runner)
    return lines


@pytest.mark.parametrize("door", ["init_cfg", "pretrained"])
def test_a_vit_checkpoint_that_mmsegmentations_vit_loads_itself_is_refused_naming_the_right_type(tmp_path, door):
    path = str(tmp_path / "vit.pth")
    save(dict(type="VisionTransformer", **VIT), path, prefix="")
    init = dict(init_cfg=dict(type="Pretrained", checkpoint=path)) if door == "init_cfg" else {}
    model = dict(pretrained=path) if door == "pretrained" else {}
    runner = run_of(dict(type="VisionTransformer", **MMSEG, **init), tmp_path, **model)
    with pytest.raises(ValueError, match=r"only \d+% of .*attn.*backbone.type='mmpretrain.VisionTransformer'"):
        start(runner)


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_checkpoint_that_the_right_backbone_loads_itself_is_accepted(tmp_path, prefix):
    path = str(tmp_path / "vit.pth")
    save(dict(type="VisionTransformer", **VIT), path, prefix=prefix)
    init = dict(init_cfg=dict(type="Pretrained", checkpoint=path, prefix=prefix or None))
    larger = dict(VIT, img_size=48)
    runner = run_of(dict(type="mmpretrain.VisionTransformer", out_type="featmap", **larger, **init), tmp_path)
    assert start(runner) == []


def test_a_weight_that_a_file_of_init_cfg_lacks_is_a_warning_that_names_it(tmp_path):
    path = str(tmp_path / "part.pth")
    save(dict(type="VisionTransformer", **VIT), path, prefix="", without=["ln1.weight"])
    init = dict(init_cfg=dict(type="Pretrained", checkpoint=path))
    runner = run_of(dict(type="mmpretrain.VisionTransformer", out_type="featmap", **VIT, **init), tmp_path)
    (line,) = start(runner)
    assert "lacks keep their initial values: backbone.ln1.weight." in line


def test_load_from_takes_precedence_over_what_the_backbone_loads_itself(tmp_path):
    save(dict(type="VisionTransformer", **VIT), tmp_path / "other.pth", prefix="")
    save(LVVIT, tmp_path / "whole.pth")
    init = dict(init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "whole.pth"), prefix="backbone."))
    runner = run_of(LVVIT | dict(out_type="featmap", **init), tmp_path)
    assert start(runner) == []
    runner.load_checkpoint(str(tmp_path / "whole.pth"))
    runner.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "other.pth"))
    train_hook(runner).before_train(runner)


def test_a_model_without_a_backbone_may_load_weights_itself():
    model = torch.nn.Module()
    model.init_cfg = dict(type="Pretrained", checkpoint="missing.pth")
    assert lacking_initial(model) == []
