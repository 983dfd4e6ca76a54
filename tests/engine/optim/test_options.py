"""Every option of an optimizer wrapper is applied or refused by name."""

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmtl.models import LVViT

NANO = dict(embed_dims=12, num_layers=3, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=2)
MERGED, DECAY = "mmtl.MergedOptimWrapperConstructor", "mmtl.LayerDecayOptimWrapperConstructor"
ADAMW = dict(type="AdamW", lr=1.0, weight_decay=0.1)


class Segmentor(nn.Module):
    def __init__(self, backbone=None):
        super().__init__()
        self.backbone, self.head = backbone or LVViT(NANO, img_size=32), nn.Conv2d(12, 3, 1)


def groups_of(constructor=DECAY, optimizer=ADAMW, model=None, **paramwise):
    """Return the parameter group of each parameter."""
    model = model or Segmentor()
    options = dict(layer_decay_rate=0.5) if constructor == DECAY else {}
    config = dict(optimizer=optimizer, constructor=constructor, paramwise_cfg=options | paramwise)
    optimizer = build_optim_wrapper(model, config).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("merge_groups", [True, False])
def test_multipliers_of_rates_and_decay_apply_on_top_of_layer_decay(merge_groups):
    keys = {"head": dict(lr_mult=10.0, decay_mult=0.5), "blocks.1": dict(lr_mult=3.0)}
    groups = groups_of(custom_keys=keys, bias_lr_mult=2.0, merge_groups=merge_groups)
    assert groups["head.weight"]["lr"] == 10.0 and groups["head.weight"]["weight_decay"] == 0.05
    assert groups["backbone.blocks.1.attn.qkv.weight"]["lr"] == 3.0 * 0.5**2
    assert groups["backbone.blocks.2.attn.proj.bias"]["lr"] == 2.0 * 0.5
    assert groups["backbone.blocks.2.attn.proj.weight"]["lr"] == 0.5


@pytest.mark.parametrize("constructor", [MERGED, DECAY])
def test_an_optimizer_without_weight_decay_trains_with_its_default(constructor):
    for kind, default in (("SGD", 0), ("AdamW", 0.01)):
        options = dict(norm_decay_mult=0.0, custom_keys={"head": dict(decay_mult=2.0)})
        groups = groups_of(constructor, dict(type=kind, lr=1.0), **options)
        assert groups["head.weight"]["weight_decay"] == 2 * default
        assert groups["backbone.norm.weight"]["weight_decay"] == 0
        assert groups["backbone.blocks.0.attn.qkv.weight"]["weight_decay"] == default
    groups_of(constructor, dict(type="SGD", lr=1.0))


@pytest.mark.parametrize(
    ("constructor", "option"),
    [(DECAY, "decay_rate"), (DECAY, "num_layers"), (MERGED, "layer_decay_rate"), (MERGED, "norm_decay_multi")],
)
def test_options_that_nothing_reads_are_refused_by_name(constructor, option):
    with pytest.raises(ValueError, match=f"has no option {option}"):
        groups_of(constructor, **{option: 0.5})


def test_custom_settings_that_the_optimizer_does_not_read_are_refused_by_name():
    assert groups_of(custom_keys={"head": dict(eps=1e-3)})["head.weight"]["eps"] == 1e-3
    with pytest.raises(ValueError, match=r"custom_keys\['head'\] sets decay_multi, which AdamW does not read"):
        groups_of(custom_keys={"head": dict(decay_multi=0.0)})


def test_a_custom_key_that_matches_no_parameter_is_a_warning(monkeypatch):
    logger, lines = MMLogger.get_instance("custom_keys"), []
    monkeypatch.setattr(logger, "handle", lambda record: lines.append((record.levelname, record.getMessage())))
    groups_of(custom_keys={"head": dict(lr_mult=2.0), "decode_haed": dict(lr_mult=2.0)})
    (warning,) = [text for level, text in lines if level == "WARNING"]
    assert "custom_keys['decode_haed'] matches no parameter" in warning


@pytest.mark.parametrize("build", [Segmentor, nn.Sequential])  # the second has no backbone, like TimmClassifier
def test_layer_decay_without_depths_is_refused(build):
    with pytest.raises(ValueError, match="Sequential does not know the depth of its parameters"):
        groups_of(model=build(nn.Sequential(nn.Linear(2, 2))))


def test_frozen_parameters_are_left_out_under_layer_decay():
    groups = groups_of(model=Segmentor(LVViT(NANO, img_size=32, frozen_stages=1)))
    assert not any("patch_embed" in name or "blocks.0" in name for name in groups)
    assert groups["backbone.blocks.1.attn.qkv.weight"]["lr"] == 0.5**2
    assert torch.is_tensor(groups["head.weight"]["params"][0])
