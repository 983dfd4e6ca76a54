"""The sparse loss is plain soft cross-entropy, in value and gradient."""

import pytest
import torch
import torch.nn.functional as F
from helpers.score_map_batches import random_maps
from hypothesis import given, settings
from hypothesis import strategies as st

import mmtl.models.token_labels.loss as loss_module
from mmtl.models.token_labels.loss import token_label_loss
from mmtl.models.token_labels.targets import TokenTargets, token_targets


def make_targets(seed, batch=3, grid_hw=(2, 3), num_classes=13, **options):
    scores, classes, log_norm = random_maps(seed, batch, (4, 4), 3, num_classes)
    crop = torch.tensor([[0.7, 0.1, 0.1], [0.0, 0.6, 0.2]]).expand(batch, 2, 3)
    return token_targets(scores, classes, crop, grid_hw, num_classes, log_norm=log_norm, **options)


def value_and_gradient(loss_of, logits):
    logits = logits.clone().requires_grad_()
    loss = loss_of(logits)
    loss.backward()
    return loss.detach(), logits.grad


def dense_loss(logits, targets):
    losses = -(targets.dense() * logits.log_softmax(-1)).sum(-1)
    return losses.sum() / targets.row_weights.sum()


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    tail=st.sampled_from(["zero_logit", "probability"]),
    smoothing=st.sampled_from([0.0, 0.1]),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_equals_dense_soft_cross_entropy_in_value_and_gradient(seed, tail, smoothing, scale):
    targets = make_targets(seed, tail=tail, smoothing=smoothing)
    mixed = 0.4 * targets + 0.6 * targets[torch.tensor([2, 1, 0])]
    logits = scale * torch.randn(3, 6, 13, generator=torch.Generator().manual_seed(seed))
    for case in (targets, mixed):
        loss, gradient = value_and_gradient(lambda z, case=case: token_label_loss(z, case), logits)
        expected, expected_gradient = value_and_gradient(lambda z, case=case: dense_loss(z, case), logits)
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-6, rtol=1e-4)


def test_one_hot_targets_give_plain_cross_entropy():
    labels, logits = torch.tensor([3, 0, 4]), torch.randn(3, 5)
    targets = TokenTargets.from_labels(labels, 5)
    loss, gradient = value_and_gradient(lambda z: token_label_loss(z, targets), logits)
    expected, expected_gradient = value_and_gradient(lambda z: F.cross_entropy(z, labels), logits)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_chunks_do_not_change_the_loss(monkeypatch):
    targets, logits = make_targets(0), torch.randn(3, 6, 13)
    at_once = value_and_gradient(lambda z: token_label_loss(z, targets), logits)
    monkeypatch.setitem(loss_module._CHUNK_LOGITS, "cpu", 5 * 13)
    chunked = value_and_gradient(lambda z: token_label_loss(z, targets), logits)
    torch.testing.assert_close(chunked, at_once)


def test_tokens_of_weight_zero_are_left_out_of_the_mean_and_get_no_gradient():
    targets, logits = make_targets(1), torch.randn(3, 6, 13)
    kept = torch.ones(3, 6)
    kept[0], kept[2, 4] = 0, 0
    loss, gradient = value_and_gradient(lambda z: token_label_loss(z, targets.weighted(kept)), logits)
    losses = -(targets.dense() * logits.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(loss, losses[kept.bool()].mean())
    assert (gradient[~kept.bool()] == 0).all()


def test_a_batch_of_no_weight_has_no_loss():
    targets, logits = make_targets(1), torch.randn(3, 6, 13)
    loss, gradient = value_and_gradient(lambda z: token_label_loss(z, targets.weighted(torch.zeros(3, 1))), logits)
    assert loss == 0 and (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computes_in_float32_and_returns_the_gradient_in_the_logits_type(dtype):
    targets, logits = make_targets(2), torch.randn(3, 6, 13).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, gradient = value_and_gradient(lambda z: token_label_loss(z, targets), logits)
    expected, _ = value_and_gradient(lambda z: token_label_loss(z, targets), logits.float())
    assert loss.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(loss, expected)


def test_logits_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"logits must be \[3, 6, 13\] .* got \[3, 6, 12\]"):
        token_label_loss(torch.randn(3, 6, 12), make_targets(0))
    with pytest.raises(ValueError, match=r"logits must be \[3, 6, 13\] .* got \[6, 3, 13\]"):
        token_label_loss(torch.randn(6, 3, 13), make_targets(0))


def test_a_weight_of_any_size_multiplies_a_tokens_loss():
    targets, logits = make_targets(1), torch.randn(3, 6, 13)
    factors = torch.rand(3, 6)
    losses = -(targets.dense() * logits.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(
        token_label_loss(logits, targets.weighted(factors)), (losses * factors).sum() / factors.sum()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_formula_for_compilers_gives_the_same_loss_and_gradient(dtype, monkeypatch):
    targets, logits = make_targets(3, smoothing=0.1), 5 * torch.randn(3, 6, 13).to(dtype)
    expected = value_and_gradient(lambda z: token_label_loss(z, targets), logits)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(value_and_gradient(lambda z: token_label_loss(z, targets), logits), expected)


def test_gradient_is_that_of_the_loss_in_float64():
    targets = make_targets(0, batch=1, grid_hw=(1, 2))
    logits = torch.randn(1, 2, 13, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: token_label_loss(z, targets), logits)


def test_further_backward_passes_give_the_same_gradient():
    logits = torch.randn(3, 6, 13, requires_grad=True)
    loss = token_label_loss(logits, make_targets(0))
    first, second, third = (torch.autograd.grad(loss, logits, 2.0 * loss, retain_graph=True)[0] for _ in range(3))
    torch.testing.assert_close(second, first)
    torch.testing.assert_close(third, first)
