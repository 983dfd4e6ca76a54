"""CutMix cuts token labels where it cuts pixels: by a count of the pixels of every token."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.score_map_batches import random_maps
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.registry import BATCH_AUGMENTS

from mmtl.models.batch_augments.cut_mix import CutMix, cut_images, kept_share
from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.models.token_labels.loss import token_label_loss
from mmtl.models.token_labels.targets import TokenTargets, token_targets

NUM_CLASSES = 7


def make_targets(batch, grid_hw, seed=0, with_maps=True):
    patch_tokens = None
    if with_maps:
        scores, classes, _ = random_maps(seed, batch, (3, 3), 2, NUM_CLASSES)
        identity = torch.eye(3)[:2].expand(batch, 2, 3)
        patch_tokens = token_targets(scores, classes, identity, grid_hw, NUM_CLASSES)
    return BatchTargets(
        TokenTargets.from_labels(torch.arange(batch) % NUM_CLASSES, NUM_CLASSES), patch_tokens, grid_hw
    )


def image_numbers(batch, image_hw):
    """Images whose pixels are all the image's number, which tell afterwards where each pixel came from."""
    return torch.arange(float(batch)).view(-1, 1, 1, 1).expand(batch, 3, *image_hw).clone()


@st.composite
def grids_and_boxes(draw):
    """A token grid, the pixels that it covers (not always a multiple of it), and a box of pixels."""
    grid_hw = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    image_hw = tuple(h * draw(st.integers(1, 4)) for h in grid_hw)
    rows, columns = (sorted(draw(st.lists(st.integers(0, side), min_size=2, max_size=2))) for side in image_hw)
    return grid_hw, image_hw, (rows[0], columns[0], rows[1], columns[1])


@settings(max_examples=100, deadline=None)
@given(case=grids_and_boxes())
def test_kept_share_equals_a_count_of_pixels(case):
    grid_hw, image_hw, box_rcrc = case
    own = cut_images(image_numbers(2, image_hw), box_rcrc, torch.tensor([1, 0]))[0, 0] == 0
    step = [side // cells for side, cells in zip(image_hw, grid_hw, strict=True)]
    for n, share in enumerate(kept_share(grid_hw, image_hw, box_rcrc)):
        row, column = n // grid_hw[1] * step[0], n % grid_hw[1] * step[1]
        pixels = [own[y, x].item() for y in range(row, row + step[0]) for x in range(column, column + step[1])]
        assert share.item() == pytest.approx(sum(pixels) / len(pixels), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 5), grid_hw=st.tuples(st.integers(1, 4), st.integers(1, 4)), seed=st.integers(0, 1000))
def test_labels_are_the_mean_of_their_pixels_labels(batch, grid_hw, seed):
    """The naive loop: every pixel has the label of the token of the image that it came from."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    image_hw = grid_hw[0] * 3, grid_hw[1] * 4
    targets = make_targets(batch, grid_hw, seed)
    images, mixed = CutMix()(image_numbers(batch, image_hw), targets)
    patches, classes = targets.patch_tokens.dense(), targets.class_token.dense()
    for b in range(batch):
        expected = torch.zeros(len(patches[b]), NUM_CLASSES)
        expected_class = torch.zeros(NUM_CLASSES)
        for y in range(image_hw[0]):
            for x in range(image_hw[1]):
                source, n = int(images[b, 0, y, x]), y // 3 * grid_hw[1] + x // 4
                expected[n] += patches[source, n] / 12
                expected_class += classes[source, 0] / (image_hw[0] * image_hw[1])
        torch.testing.assert_close(mixed.patch_tokens.dense()[b], expected)
        torch.testing.assert_close(mixed.class_token.dense()[b, 0], expected_class)


def test_a_straddling_token_mixes_the_two_labels_by_area():
    targets = make_targets(2, (2, 2))
    share = kept_share((2, 2), (8, 8), (0, 3, 4, 8))  # the right half of the image's top, and one column of the left
    assert share.tolist() == [0.75, 0, 1, 1]
    own, other = targets.patch_tokens.dense()
    mixed = targets.patch_tokens.blend_rows(share, torch.tensor([1, 0])).dense()[0]
    torch.testing.assert_close(mixed, torch.stack((0.75 * own[0] + 0.25 * other[0], other[1], own[2], own[3])))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_loss_of_blended_labels_is_the_blend_of_the_losses_also_where_some_do_not_count(seed):
    generator = torch.Generator().manual_seed(seed)
    targets = make_targets(3, (2, 3), seed).patch_tokens
    counts = (torch.rand(3, 6, generator=generator) > 0.4).float() * torch.rand(3, 6, generator=generator)
    share, logits = torch.rand(6, generator=generator).round(decimals=1), torch.randn(3, 6, 7, generator=generator)
    partner = torch.randperm(3, generator=generator)

    def row_losses(labels):
        return -(labels.dense() * logits.log_softmax(-1)).sum(-1)

    own, other = share * counts, (1 - share) * counts[partner]
    total = (own * row_losses(targets) + other * row_losses(targets[partner])).sum()
    expected = total / (own + other).sum().clamp(min=1e-9)
    torch.testing.assert_close(token_label_loss(logits, targets.weighted(counts).blend_rows(share, partner)), expected)


@pytest.mark.parametrize("minmax", [None, (0.3, 0.8)])
@pytest.mark.parametrize("seed", range(5))
def test_without_score_maps_it_is_mmpretrains_cutmix(seed, minmax):
    images, labels = torch.randn(4, 3, 16, 12), torch.arange(4)
    results = []
    for scope, wanted in (
        ("mmpretrain", F.one_hot(labels, NUM_CLASSES)),
        ("mmtl", make_targets(4, None, with_maps=False)),
    ):
        np.random.seed(seed)
        torch.manual_seed(seed)
        augment = BATCH_AUGMENTS.build(dict(type=f"{scope}.CutMix", alpha=1.0, cutmix_minmax=minmax))
        mixed, targets = augment(images.clone(), wanted)
        dense = targets if scope == "mmpretrain" else targets.class_token.dense()[:, 0]
        results.append((mixed, dense))
    torch.testing.assert_close(results[0], results[1])
    assert not torch.equal(results[0][0], images)


def test_plain_one_hot_labels_are_refused_with_the_remedy():
    with pytest.raises(TypeError, match="mmtl.TokenLabelDataPreprocessor"):
        CutMix()(torch.zeros(2, 3, 8, 8), torch.zeros(2, 5))


def test_alpha_must_be_positive():
    with pytest.raises(ValueError, match="alpha of CutMix must be > 0"):
        CutMix(alpha=0)
