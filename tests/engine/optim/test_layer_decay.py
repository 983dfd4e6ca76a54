import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmtl.models import LVViT, SideLayers, TokenLabelClassifier, TokenLabelHead

NANO = dict(embed_dims=12, num_layers=3, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=2)


class Segmentor(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.neck = LVViT(NANO, img_size=32), SideLayers(12, 16)


def classifier() -> nn.Module:
    return TokenLabelClassifier(LVViT(NANO, img_size=32), head=TokenLabelHead(5, 12))


@pytest.mark.parametrize(
    ("model", "constructor"),
    [
        (classifier, "mmpretrain.LearningRateDecayOptimWrapperConstructor"),
        (classifier, "mmtl.LayerDecayOptimWrapperConstructor"),
        (Segmentor, "mmtl.LayerDecayOptimWrapperConstructor"),
    ],
)
def test_each_block_learns_at_a_fixed_share_of_the_rate_of_the_next(model, constructor):
    model = model()
    config = dict(
        optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.1),
        constructor=constructor,
        paramwise_cfg=dict(layer_decay_rate=0.5, norm_decay_mult=0.0, bias_decay_mult=0.0),
    )
    optimizer = build_optim_wrapper(model, config).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    groups = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}
    assert groups.keys() == set(names.values())
    rates = {name: group["lr"] for name, group in groups.items()}
    assert rates["backbone.pos_embed"] == rates["backbone.patch_embed.conv1.weight"] == 0.5**4
    assert [rates[f"backbone.blocks.{i}.attn.qkv.weight"] for i in range(3)] == [0.5**3, 0.5**2, 0.5]
    assert {rate for name, rate in rates.items() if name.startswith(("head.", "neck.", "backbone.norm."))} == {1.0}
    assert groups["backbone.blocks.0.norm1.weight"]["weight_decay"] == 0
