"""Forms of token labels: soft, hard and sampled ones, and the confidence below which a token does not count."""

import pytest
import torch
from helpers.score_map_batches import random_maps

from mmtl.models.token_labels import gumbel_noise, label_form, token_label_loss, token_targets
from mmtl.models.token_labels.targets import TokenTargets

K, GRID = 9, (3, 4)


def targets(topk: int, tail: str = "probability", outside: bool = False) -> TokenTargets:
    """Labels of two images, from the top k of K classes; half of the second one is outside the image."""
    scores, classes, log_norm = random_maps(0, 2, (4, 5), topk, K)
    view = torch.eye(3)[:2].repeat(2, 1, 1)
    if outside:
        view[1, 0] = torch.tensor([4.0, 0, -1.5])
    return token_targets(scores, classes, view, GRID, K, tail=tail, log_norm=log_norm)


@pytest.mark.parametrize("tail", ["probability", "zero_logit"])
@pytest.mark.parametrize("topk", [3, K])
def test_a_hard_label_is_one_hot_at_the_top_class_of_the_soft_one(topk, tail):
    soft = targets(topk, tail)
    dense = label_form(soft, "hard").dense()
    torch.testing.assert_close(dense, torch.nn.functional.one_hot(soft.dense().argmax(-1), K).float())


@pytest.mark.parametrize("form", ["soft", "hard", "gumbel"])
def test_tokens_outside_the_image_keep_the_uniform_label(form):
    soft = targets(3, outside=True)
    out = soft.top()[1] == 0
    assert 0 < out.sum() < 12
    found = label_form(soft, form, noise=gumbel_noise(soft)).dense()
    torch.testing.assert_close(found[out], torch.full_like(found[out], 1 / K))
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 12))


def test_samples_have_the_soft_labels_frequencies_and_approach_one_hot_labels():
    soft = targets(3)
    torch.manual_seed(0)
    counts = torch.zeros(2, 12, K)
    for _ in range(2000):
        sample = label_form(soft, "gumbel", temperature=0.05, noise=gumbel_noise(soft)).dense()
        counts.scatter_add_(-1, sample.argmax(-1, keepdim=True), torch.ones(2, 12, 1))
    assert (counts / 2000 - soft.dense()).abs().max() < 0.05
    assert sample.amax(-1).median() > 0.99
    warm = label_form(soft, "gumbel", temperature=100.0, noise=gumbel_noise(soft)).dense()
    assert warm.amax() < 2 / K


@pytest.mark.parametrize("temperature", [1e-35, 1e-320])
def test_the_lowest_temperatures_sample_one_class(temperature):
    """Guards: labels of NaN below 1e-38."""
    soft = targets(3)
    noise = gumbel_noise(soft)
    found = label_form(soft, "gumbel", temperature=temperature, noise=noise).dense()
    expected = torch.nn.functional.one_hot((soft.dense().log() + noise).argmax(-1), K).float()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("form", ["soft", "hard", "gumbel"])
def test_tokens_below_the_threshold_have_no_mass(form):
    soft = targets(3)
    confident = soft.dense().amax(-1) >= 0.6
    assert 0 < confident.sum() < confident.numel()
    found = label_form(soft, form, min_confidence=0.6, noise=gumbel_noise(soft))
    assert torch.equal(found.row_weights, confident.float())
    torch.testing.assert_close(found.dense().sum(-1), confident.float())
    logits = torch.randn(2, 12, K)
    losses = -(found.dense() * logits.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(token_label_loss(logits, found.smoothed(0.0)), losses.sum() / confident.sum())


def test_tokens_without_mass_have_none_in_every_form():
    erased = targets(3).weighted(torch.zeros(2, 12))
    for form in ("hard", "gumbel"):
        found = label_form(erased, form, noise=gumbel_noise(erased))
        assert not found.dense().any() and not found.row_weights.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(form="sharp"), "label_form must be 'soft', 'hard' or 'gumbel', got 'sharp'"),
        (dict(temperature=0.0), "temperature must be a number above 0, got 0.0"),
        (dict(temperature=float("nan")), "temperature must be a number above 0, got nan"),
        (dict(min_confidence=1.5), r"min_confidence must be in \[0, 1\], got 1.5"),
        (dict(min_confidence=-0.1), r"min_confidence must be in \[0, 1\], got -0.1"),
        (dict(min_confidence="0.5"), r"min_confidence must be in \[0, 1\], got '0.5'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        label_form(targets(3), **options)


@pytest.mark.parametrize("tail", ["probability", "zero_logit"])
def test_maps_of_all_classes_give_the_labels_of_the_entries_of_every_cell(tail):
    """The short way for maps with an entry for each class equals the definition, in any order of the classes."""
    scores, classes, log_norm = random_maps(3, 2, (4, 5), K, K)
    view = torch.tensor([[0.7, 0.1, 0.05], [-0.1, 0.9, 0.15]]).repeat(2, 1, 1)
    view[1] = torch.tensor([[1.5, 0, -0.4], [0, 1.0, 0]])
    found = token_targets(scores, classes, view, GRID, K, tail=tail, log_norm=log_norm)
    every = torch.zeros(2, 4, 5, K).scatter_(-1, classes, scores)
    more = K + 1  # one class more, which no cell lists, so that cells list fewer than all
    padded = token_targets(every, torch.arange(K).expand_as(every), view, GRID, more, tail=tail, log_norm=log_norm)
    expected = padded.dense()[..., :K]
    if tail == "zero_logit":
        expected = expected / expected.sum(-1, keepdim=True)
    else:
        expected = expected + padded.dense()[..., K:] / K
    torch.testing.assert_close(found.dense(), expected, atol=2e-6, rtol=1e-5)
    assert found.weights.shape[-1] == K
