"""Merged parameter groups train and resume as one group per parameter does."""

import copy

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmtl.models import LVViT, TokenLabelClassifier, TokenLabelHead

NANO = dict(embed_dims=12, num_layers=3, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=2)
PARAMWISE = dict(
    norm_decay_mult=0.0,
    bias_decay_mult=0.0,
    flat_decay_mult=0.0,
    custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
)
MERGED, DECAY = "mmtl.MergedOptimWrapperConstructor", "mmtl.LayerDecayOptimWrapperConstructor"


def classifier(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return TokenLabelClassifier(LVViT(NANO, img_size=32), head=TokenLabelHead(5, 12))


def wrapper_of(model: nn.Module, constructor: str, **paramwise: object):
    optimizer = dict(type="AdamW", lr=0.01, weight_decay=0.1)
    config = dict(optimizer=optimizer, constructor=constructor, paramwise_cfg=PARAMWISE | paramwise)
    return build_optim_wrapper(model, config)


def step(model: nn.Module, wrapper, seed: int) -> None:
    """Update the model with random gradients; the class token gets none."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = None if "cls_token" in name else gradient
    for group in wrapper.optimizer.param_groups:
        group["lr"] *= 0.9
    wrapper.optimizer.step()


def settings_by_name(model: nn.Module, wrapper) -> dict[str, tuple[float, float]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def test_lvvit_small_has_two_groups():
    with torch.device("meta"):
        model = TokenLabelClassifier(LVViT("small"), head=TokenLabelHead(1000, 384))
    wrapper = wrapper_of(model, MERGED)
    assert [group["weight_decay"] for group in wrapper.optimizer.param_groups] == [0.0, 0.1]
    assert sum(len(group["params"]) for group in wrapper.optimizer.param_groups) == len(list(model.parameters()))
    decayed = wrapper_of(model, DECAY, layer_decay_rate=0.5)
    depths = [group["layer_id"] for group in decayed.optimizer.param_groups]
    assert set(depths) == set(range(18)) and max(map(depths.count, depths)) == 2


@pytest.mark.parametrize(("constructor", "options"), [(MERGED, {}), (DECAY, dict(layer_decay_rate=0.5))])
def test_every_parameter_keeps_its_settings_and_its_updates(constructor, options):
    merged, single = classifier(), classifier()
    wrappers = [wrapper_of(merged, constructor, **options)]
    wrappers.append(wrapper_of(single, constructor, **options, merge_groups=False))
    assert (
        len(wrappers[0].optimizer.param_groups)
        < len(wrappers[1].optimizer.param_groups)
        == len(list(single.parameters()))
    )
    assert settings_by_name(merged, wrappers[0]) == settings_by_name(single, wrappers[1])
    for seed in range(3):
        for model, wrapper in zip((merged, single), wrappers, strict=True):
            step(model, wrapper, seed)
    for name, parameter in merged.named_parameters():
        torch.testing.assert_close(
            parameter, single.get_parameter(name), msg=lambda text, name=name: f"{name}: {text}"
        )


def test_custom_settings_have_a_group_of_their_own():
    keys = {"head": dict(lr_mult=0.1), **PARAMWISE["custom_keys"]}
    wrapper = wrapper_of(classifier(), MERGED, custom_keys=keys)
    rates = sorted((group["lr"], group["weight_decay"]) for group in wrapper.optimizer.param_groups)
    assert rates == [(0.001, 0.1), (0.01, 0.0), (0.01, 0.1)]


@pytest.mark.parametrize("resumed_from", ["DefaultOptimWrapperConstructor", MERGED])
def test_a_resumed_run_continues_with_the_same_updates(resumed_from):
    model = classifier()
    wrapper = wrapper_of(model, resumed_from)
    for seed in range(2):
        step(model, wrapper, seed)
    resumed = classifier(seed=1)
    resumed.load_state_dict(model.state_dict())
    resumed_wrapper = wrapper_of(resumed, MERGED)
    resumed_wrapper.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    assert len(resumed_wrapper.optimizer.param_groups) == 2
    for seed in range(2, 4):
        step(model, wrapper, seed)
        step(resumed, resumed_wrapper, seed)
    for name, parameter in resumed.named_parameters():
        torch.testing.assert_close(parameter, model.get_parameter(name), msg=name)


def test_a_state_that_cannot_be_merged_is_refused_with_the_remedy():
    model = classifier()
    single = wrapper_of(model, DECAY, layer_decay_rate=0.5, merge_groups=False)
    for group in single.optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    for merged in (wrapper_of(model, DECAY, layer_decay_rate=0.5), wrapper_of(model, MERGED)):
        with pytest.raises(ValueError, match="merge_groups=False to resume"):
            merged.load_state_dict(copy.deepcopy(single.state_dict()))


def test_the_log_has_two_lines_instead_of_one_per_parameter(monkeypatch):
    logger = MMLogger.get_instance("test_merged_groups", log_level="INFO")
    model, lines, level = classifier(), [], logger.level
    monkeypatch.setattr(logger, "handle", lambda record: lines.append(record.getMessage()))
    lines.clear()
    wrapper_of(model, MERGED)
    lines = [line for line in lines if "egistry" not in line]  # mmengine's builder
    count = len(list(model.parameters()))
    assert len(lines) == 2 and lines[0].startswith(f"Optimizer: {count} parameters in 2 groups")
    assert logger.level == level
