"""LV-ViT under torch.compile, autocast and channels-last: one graph, no copies behind the user's back."""

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmtl.models import LVViT, TokenLabelClassifier, TokenLabelHead
from mmtl.models.batch_augments import TokenMix
from mmtl.models.batch_augments.mix_token import box_mask
from mmtl.models.token_labels import BatchTargets, TokenTargets
from mmtl.models.token_labels.targets import token_targets

NANO = dict(embed_dims=48, num_layers=2, num_heads=4, feedforward_channels=96, stem_channels=8, residual_divisor=2)
BATCH, GRID, CLASSES = 3, (4, 4), 5
TOKENS_NUMEL = BATCH * 16 * 48
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.clone.default)


def classifier() -> TokenLabelClassifier:
    torch.manual_seed(0)
    return TokenLabelClassifier(
        LVViT(NANO, img_size=64, drop_path_rate=0.1), head=TokenLabelHead(CLASSES, in_channels=48)
    )


def batch() -> tuple[Tensor, BatchTargets, TokenMix]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(BATCH, 6, 6, 2, generator=generator).sort(descending=True).values
    classes = torch.rand(BATCH, 6, 6, CLASSES, generator=generator).topk(2).indices
    views = torch.eye(3)[:2].expand(BATCH, 2, 3)
    label = TokenTargets.from_labels(torch.arange(BATCH), CLASSES)
    targets = BatchTargets(label, token_targets(scores, classes, views, GRID, CLASSES), GRID)
    images = torch.randn(BATCH, 3, 64, 64, generator=generator)
    return images, targets, TokenMix(box_mask(GRID, (0, 1, 2, 3)), torch.tensor([2, 1, 0]))


def loss(model: TokenLabelClassifier, images: Tensor, targets: BatchTargets, mix: TokenMix) -> Tensor:
    logged = model(images, [DataSample()] * BATCH, "loss", targets, mix)
    return logged["loss_cls"] + logged["loss_token"]


class LargeCopies(TorchDispatchMode):
    """Lists copies and casts of at least one value per patch token and channel: (operator, from, to)."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in COPIES and result.numel() >= TOKENS_NUMEL:
            self.found.append((func.__name__, args[0].dtype, result.dtype))
        return result


def test_prediction_and_training_loss_are_one_graph_each():
    model, (images, targets, mix) = classifier(), batch()
    for explanation in (
        torch._dynamo.explain(model.eval())(images),
        torch._dynamo.explain(lambda *inputs: loss(model.train(), *inputs))(images, targets, mix),
    ):
        assert explanation.graph_break_count == 0 and explanation.graph_count == 1, explanation.break_reasons


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_never_casts_an_activation_up(dtype):
    """The residual stream is float32 from the position embedding on; branches are in low precision."""
    model, (images, targets, mix) = classifier(), batch()
    full = loss(model.eval(), images, targets, mix)
    with torch.autocast("cpu", dtype), LargeCopies() as copies:
        low = loss(model, images, targets, mix)
    low.backward()
    casts_up = [c for c in copies.found if c[1] == dtype and c[2] == torch.float32]
    assert not casts_up and low.dtype == torch.float32
    torch.testing.assert_close(low, full, rtol=0.02, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_runs_the_branches_in_low_precision(dtype):
    model, seen = classifier().eval(), {}
    for name in ("patch_embed.conv3", "blocks.0.attn.qkv", "blocks.1.mlp.fc1"):
        module = model.backbone.get_submodule(name)
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output.dtype}))
    with torch.autocast("cpu", dtype), torch.no_grad():
        model(batch()[0])
    assert set(seen.values()) == {dtype} and len(seen) == 3


def test_channels_last_runs_through_the_stem_without_a_change_of_layout():
    model, (images, *_) = classifier().eval(), batch()
    with torch.no_grad():
        expected = model(images)
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
        stem, layouts = model.backbone.patch_embed, []
        for layer in (stem.conv1, stem.bn1, stem.conv2, stem.bn2, stem.conv3, stem.bn3):
            layer.register_forward_hook(lambda _, __, output: layouts.append(output.stride(1)))
        with LargeCopies() as copies:
            tokens, _ = model.backbone.embed(images)
        torch.testing.assert_close(model(images), expected)
    assert set(layouts[:6]) == {1} and tokens.is_contiguous()
    assert len(copies.found) == 2  # the cut into patches, and the projection's weight
