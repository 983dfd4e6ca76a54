"""Two ranks learn what one process learns from the same samples; gradients summed over steps do too."""

import os

import pytest
import torch
from helpers.score_map_batches import random_maps
from helpers.two_ranks import on_two_ranks
from mmengine.model import MMDistributedDataParallel, MMFullyShardedDataParallel
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from torch import nn

from mmtl.models.batch_augments import TokenMix
from mmtl.models.token_labels import BatchTargets, TokenTargets
from mmtl.models.token_labels.targets import token_targets

NUM_CLASSES, PER_RANK = 5, 3
NANO = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=2)
SWIN = dict(arch=dict(embed_dims=6, depths=[1, 1, 1], num_heads=[1, 2, 2]), img_size=64, window_size=2)
BACKBONES = dict(
    # The stem's BatchNorm keeps its statistics: in training they are those of each rank's own images.
    lvvit=dict(type="mmtl.LVViT", arch=NANO, img_size=64, patch_size=16, norm_eval=True),
    swin=dict(SWIN, type="mmpretrain.SwinTransformer", out_indices=(2,), drop_path_rate=0.0),
    timm=dict(
        type="mmtl.TimmBackbone", model_name="vit_tiny_patch16_224", img_size=64, depth=2, embed_dim=12, num_heads=2
    ),
)


def build_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    head = dict(type="mmtl.TokenLabelHead", num_classes=NUM_CLASSES, in_channels=24 if name == "swin" else 12)
    model = MODELS.build(dict(type="mmtl.TokenLabelClassifier", backbone=BACKBONES[name], head=head))
    model.init_weights()
    return model.train()


def full_batch(weights: str) -> dict:
    """The samples of both ranks, mixed within each: own pairs and an own mask, as each rank draws them."""
    batch = 2 * PER_RANK
    scores, classes, _ = random_maps(1, batch, (4, 4), 2, NUM_CLASSES)
    patches = token_targets(scores, classes, torch.eye(3)[:2].expand(batch, 2, 3), (4, 4), NUM_CLASSES)
    if weights == "unequal":  # all tokens of one rank count and a few of the other
        patches = patches.weighted((torch.arange(batch * 16).view(batch, 16) < 60).float())
    labels = TokenTargets.from_labels(torch.arange(batch) % NUM_CLASSES, NUM_CLASSES)
    targets = BatchTargets(labels, None if weights == "none" else patches, (4, 4))
    mask = torch.ones(batch, 16, dtype=torch.bool)
    mask[:PER_RANK, 5:7], mask[PER_RANK:, 0:9] = False, False
    partner = torch.tensor([2, 1, 0, 5, 4, 3])
    images = torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    return dict(inputs=images, targets=targets.mix_tokens(mask, partner), token_mix=TokenMix(mask, partner))


def part(batch: dict, rank: int) -> dict:
    """The samples of one rank."""
    own = slice(rank * PER_RANK, (rank + 1) * PER_RANK)
    mask, partner = batch["token_mix"]
    token_mix = TokenMix(mask[own], partner[own] - rank * PER_RANK)
    return dict(inputs=batch["inputs"][own], targets=batch["targets"][own], token_mix=token_mix)


def backward(model: nn.Module, batch: dict) -> None:
    losses = model(**batch, mode="loss")
    sum(value for key, value in losses.items() if "loss" in key).backward()


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """By the names that the parameters have in the model that a wrapper holds."""
    named = ((name.rpartition("module.")[2], p) for name, p in model.named_parameters())
    return {name: p.grad.clone() for name, p in named}


def train_rank(rank: int, name: str, weights: str, wrapper: str) -> dict[str, torch.Tensor]:
    model, batch = build_model(name), part(full_batch(weights), rank)
    if wrapper == "sharded":
        model = MMFullyShardedDataParallel(model, use_orig_params=True, device_id=torch.device("cpu"))
        backward(model, batch)
        with model.summon_full_params(model, with_grads=True):
            return gradients(model)
    if wrapper == "compiled":
        model.compile_training(backend="aot_eager", fullgraph=True)
    model = MMDistributedDataParallel(model, device_ids=None)
    backward(model, batch)
    return gradients(model)


@pytest.mark.skipif(os.name != "posix", reason="there is no fork server")
@pytest.mark.parametrize(
    "name, weights, wrapper",
    [
        ("lvvit", "equal", "replicated"),
        ("lvvit", "equal", "sharded"),
        ("lvvit", "unequal", "replicated"),
        ("lvvit", "unequal", "compiled"),
        ("lvvit", "none", "replicated"),
        ("swin", "equal", "replicated"),
        ("timm", "equal", "replicated"),
    ],
)
def test_two_ranks_give_the_gradients_of_one_with_the_same_samples(tmp_path, processes, name, weights, wrapper):
    single = build_model(name)
    backward(single, full_batch(weights))
    expected = gradients(single)
    for found in on_two_ranks(processes, tmp_path, train_rank, name, weights, wrapper):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert sum(g.abs().sum() for g in expected.values()) > 0.1


class PreparedBatches(nn.Module):
    """Stands in for the data preprocessor: the batches of this test are made already."""

    def forward(self, data: dict, training: bool = False) -> dict:
        return data


def test_accumulated_gradients_are_those_of_the_full_batch():
    results = []
    for steps in ([full_batch("equal")], [part(full_batch("equal"), 0), part(full_batch("equal"), 1)]):
        model = build_model("lvvit")
        model.data_preprocessor = PreparedBatches()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=len(steps))
        wrapper.initialize_count_status(model, 0, len(steps))
        for batch in steps:
            model.train_step(batch, wrapper)
        results.append(model.state_dict())
        assert any(not torch.equal(before[key], value) for key, value in results[-1].items())
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)
