"""MixToken equals its naive loop, and mixes labels exactly as it mixes tokens."""

import numpy as np
import pytest
import torch
from helpers.score_map_batches import random_maps
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.registry import BATCH_AUGMENTS

from mmtl.models.batch_augments.mix_token import MixToken, box_mask, cut_box, mix_tokens
from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.models.token_labels.targets import TokenTargets, token_targets

GRIDS = st.tuples(st.integers(1, 9), st.integers(1, 9))


def make_targets(batch, grid_hw, num_classes=7, with_maps=True):
    labels = torch.arange(batch) % num_classes
    patch_tokens = None
    if with_maps:
        scores, classes, _ = random_maps(batch, batch, (3, 3), 2, num_classes)
        identity = torch.eye(3)[:2].expand(batch, 2, 3)
        patch_tokens = token_targets(scores, classes, identity, grid_hw, num_classes)
    return BatchTargets(TokenTargets.from_labels(labels, num_classes), patch_tokens, grid_hw)


@settings(max_examples=50, deadline=None)
@given(batch=st.integers(1, 5), grid_hw=GRIDS, seed=st.integers(0, 1000))
def test_equals_the_naive_loop(batch, grid_hw, seed):
    np.random.seed(seed)
    torch.manual_seed(seed)
    num_tokens = grid_hw[0] * grid_hw[1]
    tokens, targets = torch.randn(batch, num_tokens, 3), make_targets(batch, grid_hw)
    _, mixed, (mask, partner) = MixToken()(torch.zeros(batch, 3, 1, 1), targets)
    mixed_tokens = mix_tokens(tokens, mask, partner)
    share = sum(bool(m) for m in mask) / num_tokens
    for b in range(batch):
        other = batch - 1 - b
        for n in range(num_tokens):
            source = b if mask[n] else other
            assert torch.equal(mixed_tokens[b, n], tokens[source, n])
            torch.testing.assert_close(
                mixed.patch_tokens[b : b + 1].dense()[0, n], targets.patch_tokens[source].dense()[0, n]
            )
        own, others = (targets.class_token[i].dense() for i in (b, other))
        torch.testing.assert_close(mixed.class_token[b].dense(), share * own + (1 - share) * others)


@given(batch=st.integers(1, 6), grid_hw=GRIDS, seed=st.integers(0, 1000))
def test_mixing_twice_gives_the_tokens_back(batch, grid_hw, seed):
    np.random.seed(seed)
    mix = MixToken().draw(batch, grid_hw)
    tokens = torch.randn(batch, grid_hw[0] * grid_hw[1], 2)
    assert torch.equal(mix_tokens(mix_tokens(tokens, *mix), *mix), tokens)


def test_what_a_token_counts_for_moves_with_it():
    targets, counts = make_targets(2, (2, 2)), torch.tensor([[1.0, 0, 1, 1], [1, 1, 0, 0]])
    weighted = targets.patch_tokens.weighted(counts)
    mask, partner = torch.tensor([True, True, False, False]), torch.tensor([1, 0])
    assert weighted.mix_rows(mask, partner).row_weights.tolist() == [[1, 0, 0, 0], [1, 1, 1, 1]]


def test_each_image_may_have_its_own_mask():
    tokens, partner = torch.arange(8.0).view(2, 4, 1), torch.tensor([1, 0])
    mask = torch.tensor([[True, False, True, True], [True, True, True, False]])
    assert mix_tokens(tokens, mask, partner).flatten().tolist() == [0, 5, 2, 3, 4, 5, 6, 3]


@given(grid_hw=GRIDS, area=st.floats(0, 1), data=st.data())
def test_convention_clipped_box_is_in_the_grid_and_covers_at_most_the_requested_area(grid_hw, area, data):
    h, w = grid_hw
    center = (data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1)))
    row0, column0, row1, column1 = cut_box(grid_hw, area, center)
    assert 0 <= row0 <= row1 <= h and 0 <= column0 <= column1 <= w
    assert (row1 - row0) * (column1 - column0) <= area * h * w + 1e-6


def test_convention_rows_first():
    assert cut_box((4, 12), 1.0, (2, 6)) == (0, 0, 4, 12)
    assert box_mask((2, 3), (0, 1, 1, 3)).tolist() == [True, False, False, True, True, True]


def test_the_mean_share_that_stays_is_that_of_a_uniform_area_and_center():
    """The area is uniform in [0, 1]; clipping at the border leaves a share above 1/2."""
    np.random.seed(0)
    shares = [MixToken().draw(2, (14, 14)).mask.float().mean().item() for _ in range(2000)]
    areas, centers = (np.arange(100) + 0.5) / 100, np.ndindex(14, 14)
    boxes = [cut_box((14, 14), area, center) for center in centers for area in areas]
    expected = np.mean([1 - (bottom - top) * (right - left) / 196 for top, left, bottom, right in boxes])
    assert abs(np.mean(shares) - expected) < 4 * np.std(shares) / 2000**0.5


def test_a_batch_without_score_maps_mixes_class_labels_only():
    np.random.seed(1)
    targets = make_targets(2, (4, 4), with_maps=False)
    _, mixed, (mask, _) = MixToken()(torch.zeros(2, 3, 1, 1), targets)
    share = mask.float().mean()
    torch.testing.assert_close(mixed.class_token.dense()[0, 0, :2], torch.stack((share, 1 - share)))
    assert mixed.patch_tokens is None


def test_mmpretrain_mixup_mixes_class_and_patch_targets_with_one_draw():
    np.random.seed(0)
    torch.manual_seed(0)
    images = torch.eye(4).view(4, 4, 1, 1)  # the mixed images tell how much of each image is in each
    targets = make_targets(4, (2, 2))
    mixed_images, mixed = BATCH_AUGMENTS.build(dict(type="mmpretrain.Mixup", alpha=0.8))(images, targets)
    shares = mixed_images.flatten(1)
    for part in ("class_token", "patch_tokens"):
        expected = torch.einsum("ab,bnk->ank", shares, getattr(targets, part).dense())
        torch.testing.assert_close(getattr(mixed, part).dense(), expected)


def test_plain_one_hot_labels_are_refused_with_the_remedy():
    with pytest.raises(TypeError, match="mmtl.TokenLabelDataPreprocessor"):
        MixToken()(torch.zeros(2, 3, 8, 8), torch.zeros(2, 5))


def test_alpha_must_be_positive():
    with pytest.raises(ValueError, match="alpha of MixToken must be > 0"):
        MixToken(alpha=0)


def test_an_unknown_token_grid_is_named():
    with pytest.raises(ValueError, match="Set token_stride"):
        MixToken()(torch.zeros(2, 3, 8, 8), make_targets(2, None, with_maps=False))
