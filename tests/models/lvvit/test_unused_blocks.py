"""What no output depends on is neither run nor trained."""

import os

import pytest
import torch
from helpers.two_ranks import on_two_ranks
from mmengine.model import MMDistributedDataParallel

from mmtl.models import LVViT

NANO = dict(embed_dims=12, num_layers=8, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=2)


def trained_without_gradient(model):
    """Return the names of the parameters that DDP would wait for in vain."""
    torch.manual_seed(0)
    sum(out.square().mean() for out in model.train()(torch.rand(2, 3, 32, 32))).backward()
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]


@pytest.mark.parametrize("out_indices", [(2, 5), (-4,), 0, (0, 7)])
@pytest.mark.parametrize("out_type", ["raw", "featmap", "cls_token"])
def test_every_trained_parameter_gets_a_gradient(out_indices, out_type):
    model = LVViT(NANO, img_size=32, out_indices=out_indices, out_type=out_type)
    assert trained_without_gradient(model) == []


def test_blocks_after_the_last_index_are_not_run():
    model = LVViT(NANO, img_size=32, out_indices=(2, 5))
    run = []
    for index, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, index=index: run.append(index))
    model(torch.rand(1, 3, 32, 32))
    assert run == [0, 1, 2, 3, 4, 5]
    assert not any(p.requires_grad for p in [*model.blocks[6].parameters(), *model.norm.parameters()])


def test_all_stages_frozen_leaves_nothing_to_train():
    model = LVViT(NANO, img_size=32, frozen_stages=8).train()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.norm.training
    assert any(p.requires_grad for p in LVViT(NANO, img_size=32, frozen_stages=7).norm.parameters())


class Sum(torch.nn.Module):
    """The sum of all outputs of a backbone, as a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = LVViT(NANO, img_size=32, out_indices=(2, 5), out_type="featmap", norm_eval=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return sum(out.square().mean() for out in self.backbone(images))


def step_twice(rank: int) -> tuple[dict, dict]:
    torch.manual_seed(0)
    model = MMDistributedDataParallel(Sum().train(), device_ids=None)
    before = {name: p.detach().clone() for name, p in model.module.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        model(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2 * step + rank))).backward()
        optimizer.step()
    return before, {name: p.detach() for name, p in model.module.named_parameters()}


@pytest.mark.skipif(os.name != "posix", reason="there is no fork server")
def test_two_ranks_train_with_blocks_that_are_not_run(tmp_path, processes):
    (before, after), (_, other) = on_two_ranks(processes, tmp_path, step_twice)
    assert all(torch.equal(after[name], other[name]) for name in after)
    moved = {name.split(".")[2] for name in after if "blocks" in name and not torch.equal(before[name], after[name])}
    assert moved == set("012345")
