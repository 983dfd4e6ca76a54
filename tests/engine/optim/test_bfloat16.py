import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

import mmtl.engine.optim.bfloat16 as bfloat16


def build(model: nn.Module):
    config = dict(type="mmtl.BFloat16OptimWrapper", optimizer=dict(type="SGD", lr=0.5))
    return build_optim_wrapper(model, {**config, "constructor": "mmtl.MergedOptimWrapperConstructor"})


def test_the_forward_pass_is_bfloat16_and_the_weights_stay_float32():
    model = nn.Linear(3, 1)
    wrapper, before = build(model), model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(2, 3))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, before - 0.5 * torch.full((1, 3), 2.0))


def test_a_gpu_without_bfloat16_is_refused_with_the_type_to_set(monkeypatch):
    monkeypatch.setattr(bfloat16, "get_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    with pytest.raises(
        ValueError, match=r"Tesla V100.*optim_wrapper.type=AmpOptimWrapper optim_wrapper.dtype=float16"
    ):
        build(nn.Linear(3, 1))
