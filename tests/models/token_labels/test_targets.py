"""Token targets equal their dense definition, for every geometry and every class count."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.score_map_batches import affine_of_boxes, random_maps
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from mmtl.models.token_labels.map_windows import map_windows
from mmtl.models.token_labels.targets import TokenTargets, token_targets

SEEDS = st.integers(0, 2**31 - 1)


def dense_map(values, classes, num_classes):
    """[B, K, h, w], 0 for absent classes; equal classes of a cell add up."""
    batch, h, w, _ = values.shape
    dense = torch.zeros(batch, h, w, num_classes, dtype=torch.float64)
    return dense.scatter_add_(-1, classes.long(), values.double()).permute(0, 3, 1, 2)


def read_dense(dense, view_affine, grid_hw):
    """Average of grid_sample over the same bins and samples, [B, N, K]; samples half a cell outside count as 0."""
    (grid_h, grid_w), (h, w) = grid_hw, dense.shape[-2:]
    rows = []
    for image, affine in zip(dense, view_affine.double(), strict=True):
        sides = affine[:, :2] * torch.tensor([[w], [h]]) / torch.tensor([grid_w, grid_h])
        num_x, num_y = (max(1, int(np.ceil(float(side.norm()) - 1e-6))) for side in sides.T)
        u = (torch.arange(grid_w * num_x) + 0.5) / (grid_w * num_x)
        v = (torch.arange(grid_h * num_y) + 0.5) / (grid_h * num_y)
        vv, uu = torch.meshgrid(v.double(), u.double(), indexing="ij")
        xy = torch.stack((uu, vv, torch.ones_like(uu)), -1) @ affine.T
        cells = xy * torch.tensor([w, h]) - 0.5
        inside = ((cells >= -1 - 1e-6) & (cells <= torch.tensor([w, h]) + 1e-6)).all(-1)
        read = F.grid_sample(image[None], (xy * 2 - 1)[None], padding_mode="border", align_corners=False)[0]
        pooled = F.avg_pool2d(read * inside, (num_y, num_x))
        rows.append(pooled.flatten(1).T)
    return torch.stack(rows)


@st.composite
def geometries(draw):
    """An affine of any kind: crops over the border, flips, rotations, shears, on any aspect ratio."""
    angle = draw(st.floats(-np.pi, np.pi))
    scale_x, scale_y = draw(st.floats(0.05, 1.5)), draw(st.floats(0.05, 1.5))
    shear, flip = draw(st.floats(-0.5, 0.5)), draw(st.sampled_from([-1, 1]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[flip * scale_x, shear], [0, scale_y]])
    shift = np.array([draw(st.floats(-0.3, 1.0)), draw(st.floats(-0.3, 1.0))])
    return np.concatenate([linear, shift[:, None]], axis=1)


@settings(max_examples=150, deadline=None)
@given(
    seed=SEEDS,
    map_hw=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    grid_hw=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    num_classes=st.sampled_from([1, 2, 7, 50]),
    affines=st.lists(geometries(), min_size=1, max_size=3),
)
def test_sparse_targets_equal_the_dense_map_read_with_the_same_samples(seed, map_hw, grid_hw, num_classes, affines):
    topk = min(3, num_classes)
    scores, classes, _ = random_maps(seed, len(affines), map_hw, topk, num_classes)
    view_affine = torch.tensor(np.stack(affines))
    targets = token_targets(scores, classes, view_affine, grid_hw, num_classes)
    expected = read_dense(dense_map(scores, classes, num_classes), view_affine, grid_hw).softmax(-1)
    torch.testing.assert_close(targets.dense().double(), expected, atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    map_hw=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    grid=st.integers(1, 8),
    corners=st.lists(st.floats(-0.4, 1.4), min_size=4, max_size=4),
)
def test_upright_crops_equal_roi_align(seed, map_hw, grid, corners):
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    if x1 - x0 < 0.05 or y1 - y0 < 0.05:
        return
    # A side of an integer number of cells per bin takes one sample more or less by a rounding error.
    for side, cells in ((x1 - x0, map_hw[1]), (y1 - y0, map_hw[0])):
        if abs(side * cells / grid - round(side * cells / grid)) < 1e-4:
            return
    scores, classes, _ = random_maps(seed, 1, map_hw, 3, 20)
    box = torch.tensor([[x0, y0, x1, y1]], dtype=torch.float64)
    h, w = map_hw
    pixels = [box * torch.tensor([w, h, w, h])]
    read = roi_align(dense_map(scores, classes, 20), pixels, grid, aligned=True)
    expected = read.flatten(2).transpose(1, 2).softmax(-1)
    targets = token_targets(scores, classes, affine_of_boxes(box), (grid, grid), 20)
    torch.testing.assert_close(targets.dense().double(), expected, atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    map_hw=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    grid_hw=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    crops=st.lists(st.tuples(*[st.floats(0.05, 1.5)] * 2, *[st.floats(-0.4, 1)] * 2), min_size=1, max_size=3),
    flip=st.sampled_from([-1, 1]),
)
def test_upright_views_have_the_windows_of_views_turned_by_almost_nothing(map_hw, grid_hw, crops, flip):
    upright = torch.tensor([[[flip * w, 0, x], [0, h, y]] for w, h, x, y in crops], dtype=torch.float64)
    turned = upright.clone()
    turned[:, 0, 1] = 1e-9
    read = torch.zeros(2, *grid_hw, len(crops), len(crops) * map_hw[0] * map_hw[1]).unbind()
    for dense, affine in zip(read, (upright, turned), strict=True):
        for image, (cells, weights) in enumerate(zip(*map_windows(affine, map_hw, grid_hw), strict=True)):
            dense[:, :, image].scatter_add_(-1, cells.flatten(2), weights.flatten(2))
    torch.testing.assert_close(*read, atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    map_hw=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    grid_hw=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    used_classes=st.integers(1, 5),
    num_classes=st.sampled_from([5, 40, 1000, 65_535]),
)
def test_classes_that_neighbors_share_are_added_up(seed, map_hw, grid_hw, used_classes, num_classes):
    generator = torch.Generator().manual_seed(seed)
    scores = 5 * torch.randn(2, *map_hw, 3, generator=generator).half()
    palette = torch.randint(num_classes, (used_classes,), generator=generator)
    classes = palette[torch.randint(used_classes, scores.shape, generator=generator)]
    view_affine = torch.tensor([[[0.9, 0.3, 0.0], [-0.2, 0.7, 0.1]], [[-0.6, 0, 0.8], [0, 0.5, 0.2]]])
    targets = token_targets(scores, classes, view_affine, grid_hw, num_classes)
    read = read_dense(dense_map(scores, classes.long(), num_classes)[:, palette.unique()], view_affine, grid_hw)
    absent = torch.zeros(*read.shape[:2], num_classes - len(palette.unique()), dtype=torch.float64)
    expected = torch.cat((read, absent), -1).softmax(-1)[..., : read.shape[-1]]
    torch.testing.assert_close(targets.dense()[..., palette.unique()].double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(targets.dense().sum(-1), torch.ones(read.shape[:2]), atol=1e-4, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    affine=geometries(),
    tail=st.sampled_from(["zero_logit", "probability"]),
    num_classes=st.sampled_from([3, 4, 30]),
)
def test_targets_are_distributions(seed, affine, tail, num_classes):
    scores, classes, log_norm = random_maps(seed, 1, (4, 5), 3, num_classes)
    targets = token_targets(
        scores, classes, torch.tensor(affine)[None], (3, 4), num_classes, tail=tail, log_norm=log_norm
    )
    dense = targets.dense()
    assert dense.min() >= -1e-6
    torch.testing.assert_close(dense.sum(-1), torch.ones(1, 12), atol=2e-6, rtol=0)


def test_classes_that_are_all_named_with_low_logits_keep_their_ratio():
    scores = torch.tensor([-20.0, -21.0]).view(1, 1, 1, 2)
    targets = token_targets(scores, torch.tensor([1, 0]).view(1, 1, 1, 2), torch.eye(3)[None, :2], (1, 1), 2)
    torch.testing.assert_close(targets.dense().flatten(), torch.tensor([-21.0, -20.0]).softmax(0))


def test_probability_tail_gives_back_the_annotators_distribution():
    logits = 4 * torch.randn(1, 1, 1, 50, generator=torch.Generator().manual_seed(0)).double()
    scores, classes = logits.topk(5)
    identity = torch.eye(3)[None, :2]
    targets = token_targets(
        scores, classes, identity, (1, 1), 50, tail="probability", log_norm=logits.logsumexp(-1)
    ).dense()
    probabilities = logits.softmax(-1).flatten(2)
    named = classes.flatten()
    torch.testing.assert_close(targets[0, 0, named].double(), probabilities[0, 0, named], atol=1e-6, rtol=0)
    absent = [c for c in range(50) if c not in named]
    rest = 1 - probabilities[0, 0, named].sum()
    torch.testing.assert_close(targets[0, 0, absent].double(), (rest / 45).expand(45), atol=1e-6, rtol=0)


def test_probability_tail_is_linear_in_the_cells():
    scores, classes, log_norm = random_maps(3, 1, (1, 2), 2, 9)
    halves = [[[0.5, 0, 0.0], [0, 1, 0]], [[0.5, 0, 0.5], [0, 1, 0]], [[0.5, 0, 0.25], [0, 1, 0]]]
    left, right, middle = (
        token_targets(scores, classes, torch.tensor([half]), (1, 1), 9, tail="probability", log_norm=log_norm).dense()
        for half in halves
    )
    torch.testing.assert_close(middle, (left + right) / 2)


@pytest.mark.parametrize("tail", ["zero_logit", "probability"])
def test_autocast_rounds_no_label(tail):
    scores, classes, log_norm = random_maps(4, 2, (6, 6), 3, 50)
    turned = torch.tensor([[0.6, -0.3, 0.2], [0.3, 0.5, 0.1]]).expand(2, 2, 3)
    arguments = (scores, classes, turned, (4, 4), 50, tail, 0.1, log_norm)
    expected = token_targets(*arguments).dense()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(token_targets(*arguments).dense(), expected, rtol=0, atol=0)


@settings(max_examples=60, deadline=None)
@given(
    map_hw=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    grid_hw=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    boxes=st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=4),
)
def test_every_crop_of_the_image_gives_windows_of_one_shape(map_hw, grid_hw, boxes):
    """A fixed shape compiles once; turned and padded images may take a few larger ones."""
    corners = torch.tensor(boxes, dtype=torch.float64).clamp(0, 1)
    x, y = corners[:, 0::2].sort(1).values, corners[:, 1::2].sort(1).values
    crops = affine_of_boxes(torch.stack((x[:, 0], y[:, 0], x[:, 1] + 1e-3, y[:, 1] + 1e-3), 1).clamp(max=1))
    full = torch.eye(2, 3, dtype=torch.float64)[None]
    shape = map_windows(full, map_hw, grid_hw).cells.shape[3:]
    assert map_windows(crops, map_hw, grid_hw).cells.shape[3:] == shape
    turned = torch.tensor([[[0.8, -0.6, 0.0], [0.6, 0.8, 0.0]]])
    shapes = {map_windows(scale * turned, map_hw, grid_hw).cells.shape[3:] for scale in np.linspace(0.1, 2, 40)}
    assert all(len(set(lengths)) <= 5 for lengths in zip(*shapes, strict=True))


def test_convention_xy_order():
    # Only the right half of the map, seen through a crop of the right half, names class 1.
    classes = torch.tensor([[[[0], [1]], [[0], [1]]]])
    right_half = torch.tensor([[[0.5, 0, 0.5], [0, 1, 0]]])
    targets = token_targets(torch.full((1, 2, 2, 1), 9.0), classes, right_half, (1, 1), 5)
    assert targets.dense().argmax(-1).item() == 1


def test_convention_row_major_and_cell_centers():
    classes = torch.arange(6).view(1, 2, 3, 1)
    targets = token_targets(torch.full((1, 2, 3, 1), 9.0), classes, torch.eye(3)[None, :2], (2, 3), 6)
    assert targets.dense().argmax(-1).flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_convention_outside_uniform():
    beside = torch.tensor([[[1.0, 0, 3.0], [0, 1, 0]]])
    scores, classes, log_norm = random_maps(0, 1, (3, 3), 2, 10)
    for tail in ("zero_logit", "probability"):
        targets = token_targets(scores, classes, beside, (2, 2), 10, tail=tail, log_norm=log_norm)
        torch.testing.assert_close(targets.dense(), torch.full((1, 4, 10), 0.1))
        ignored = token_targets(scores, classes, beside, (2, 2), 10, tail=tail, log_norm=log_norm, outside="ignore")
        assert ignored.row_weights.tolist() == [[0.0] * 4]
        assert ignored.smoothed(0.1).dense().sum() == 0


def test_labels_that_do_not_count_have_no_part_in_a_mixture():
    targets = make_targets(0)
    counts = (torch.rand(len(targets), 12, generator=torch.Generator().manual_seed(0)) > 0.4).float()
    own, partner = targets.weighted(counts), torch.tensor([1, 2, 3, 0])
    mixed = 0.3 * own + 0.7 * own[partner]  # as mmpretrain's Mixup does
    only_own = (counts == 1) & (counts[partner] == 0)
    torch.testing.assert_close(mixed.row_weights, 0.3 * counts + 0.7 * counts[partner])
    torch.testing.assert_close((mixed.dense() / mixed.row_weights.unsqueeze(-1))[only_own], targets.dense()[only_own])
    assert only_own.any()


def test_when_all_classes_are_named_log_norm_changes_nothing():
    scores, classes, _ = random_maps(0, 1, (3, 4), 6, 6)
    affine = torch.tensor([[[0.7, 0, 0.1], [0, 0.8, 0.1]]])
    read = [
        token_targets(scores, classes, affine, (2, 2), 6, tail="probability", log_norm=scores.logsumexp(-1) + error)
        for error in (0.0, 200.0)
    ]
    torch.testing.assert_close(read[0].dense(), read[1].dense())


def test_one_pass_over_many_classes():
    scores, classes, _ = random_maps(1, 2, (3, 3), 1, 65_535)
    targets = token_targets(scores.half(), classes, torch.eye(3).expand(2, 3, 3)[:, :2], (3, 3), 65_535)
    torch.testing.assert_close(targets.dense().sum(-1), torch.ones(2, 9), atol=1e-4, rtol=0)
    assert (targets.dense().argmax(-1) == classes.flatten(1)).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64])
def test_classes_may_be_of_any_integer_type(dtype):
    scores, classes, _ = random_maps(0, 2, (3, 4), 2, 200)
    affine = torch.eye(3).expand(2, 3, 3)[:, :2]
    expected = token_targets(scores, classes, affine, (2, 2), 200).dense()
    torch.testing.assert_close(token_targets(scores, classes.to(dtype), affine, (2, 2), 200).dense(), expected)


@pytest.mark.parametrize("num_classes", [5, 1000])
@pytest.mark.parametrize("tail", ["zero_logit", "probability"])
def test_batch_of_no_images_has_no_targets(tail, num_classes):
    scores, classes, log_norm = (maps[:0] for maps in random_maps(0, 1, (3, 4), 2, num_classes))
    targets = token_targets(
        scores, classes, torch.zeros(0, 2, 3), (2, 3), num_classes, tail=tail, log_norm=log_norm, smoothing=0.1
    )
    assert targets.dense().shape == (0, 6, num_classes)


def test_one_hot_labels_are_smoothed_to_mass_one():
    labels = torch.tensor([3, 0])
    smooth = TokenTargets.from_labels(labels, 10, smoothing=0.1).dense()[:, 0]
    torch.testing.assert_close(smooth, torch.full((2, 10), 0.01).scatter_(1, labels[:, None], 0.91))
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1\], got 2"):
        TokenTargets.from_labels(labels, 10, smoothing=2)


def test_blends_smooth_the_label_and_the_map_each_by_its_own_formula():
    scores, classes = torch.full((1, 1, 1, 1), 9.0), torch.tensor([3]).view(1, 1, 1, 1)
    pooled = token_targets(scores, classes, torch.eye(3)[None, :2], (1, 1), 8, smoothing=0.1)
    label = TokenTargets.from_labels(torch.tensor([4]), 8, smoothing=0.1)
    both = pooled.ground_truth(torch.tensor([4]), "both", smoothing=0.1).dense()
    torch.testing.assert_close(both, 0.9 * pooled.dense() + 0.1 * label.dense())
    assert both.sum().item() == pytest.approx(0.9 * (1 + 0.1 / 8) + 0.1)


def test_smoothing_is_the_released_formula():
    scores, classes, _ = random_maps(1, 2, (3, 3), 2, 12)
    identity = torch.eye(3).expand(2, 3, 3)[:, :2]
    plain = token_targets(scores, classes, identity, (2, 2), 12).dense()
    smooth = token_targets(scores, classes, identity, (2, 2), 12, smoothing=0.1).dense()
    torch.testing.assert_close(smooth, plain * (1 - 0.1 + 0.1 / 12) + 0.1 / 12)


def make_targets(seed, batch=4, num_classes=11):
    scores, classes, _ = random_maps(seed, batch, (3, 4), 2, num_classes)
    return token_targets(scores, classes, torch.eye(3).expand(batch, 3, 3)[:, :2], (3, 4), num_classes)


def test_linear_mixing_equals_mixing_the_dense_targets():
    a, b = make_targets(0), make_targets(1)
    index = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close((0.3 * a + 0.7 * b[index, :]).dense(), 0.3 * a.dense() + 0.7 * b.dense()[index])
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4])
    torch.testing.assert_close((a * shares).dense(), a.dense() * shares.view(-1, 1, 1))


def test_indexing_selects_images():
    targets = make_targets(0)
    dense = targets.dense()
    mask = torch.tensor([True, False, False, True])
    for index in (mask, torch.tensor([3, 3]), slice(1, None, 2), [2, 0]):
        torch.testing.assert_close(targets[index].dense(), dense[index])
    for index in (2, -1, np.int64(1), torch.tensor(1)):
        torch.testing.assert_close(targets[index].dense(), dense[int(index)][None])
    assert len(list(targets)) == 4
    with pytest.raises(IndexError):
        targets[4]


def test_indexing_by_classes_is_refused():
    with pytest.raises(ValueError, match="indexed by images only"):
        make_targets(0)[:, 1:]


def test_targets_that_do_not_fit_each_other_are_named():
    with pytest.raises(ValueError, match="of one shape, got .* 11 classes.* and .* 12 classes"):
        make_targets(0) + make_targets(0, num_classes=12)
    with pytest.raises(ValueError, match="of one shape, got .*4 images.* and .*3 images"):
        make_targets(0) + make_targets(0)[:3]
    with pytest.raises(ValueError, match="one number, or one per image, got 3"):
        make_targets(0) * torch.ones(3)
    with pytest.raises(ValueError, match=r"one label per image, \[4\], got \[3\]"):
        make_targets(0).ground_truth(torch.tensor([0, 1, 2]))


def test_repr_summarizes_the_content():
    targets = make_targets(0)
    assert "4 images x 12 tokens (3x4 grid)" in repr(targets)
    assert "48 of 48 tokens count" in repr(targets)
    assert "24 of 48 tokens count" in repr(targets.weighted(torch.tensor([0.0, 1, 0.5, 0])[:, None]))


def test_ground_truth_blends():
    scores, classes = torch.full((2, 1, 1, 1), 9.0), torch.tensor([3, 5]).view(2, 1, 1, 1)
    pooled = token_targets(scores, classes, torch.eye(3).expand(2, 3, 3)[:, :2], (1, 1), 8)
    labels = torch.tensor([3, 4])  # the map agrees with the first label only
    one_hot = F.one_hot(labels, 8)[:, None].float()
    torch.testing.assert_close(pooled.ground_truth(labels, "label").dense(), one_hot)
    torch.testing.assert_close(pooled.ground_truth(labels, "map").dense(), pooled.dense())
    share = torch.tensor([0.5, 0.9]).view(2, 1, 1)
    expected = share * pooled.dense() + (1 - share) * one_hot
    torch.testing.assert_close(pooled.ground_truth(labels, "both").dense(), expected)
    with pytest.raises(ValueError, match="'label', 'map' or 'both'"):
        pooled.ground_truth(labels, "maps")
    many = token_targets(scores, classes, torch.eye(3).expand(2, 3, 3)[:, :2], (1, 2), 8)
    for blend in ("map", "both"):
        with pytest.raises(ValueError, match=r"pooled to one token, grid_hw \(1, 1\), got TokenTargets\(2 images x 2"):
            many.ground_truth(labels, blend)


def bad_inputs():
    scores, classes, log_norm = random_maps(0, 2, (3, 4), 2, 10)
    good = dict(
        scores=scores,
        classes=classes,
        view_affine=torch.eye(3).expand(2, 3, 3)[:, :2].clone(),
        grid_hw=(2, 2),
        num_classes=10,
    )
    nan, collapsed, high, negative = scores.clone(), good["view_affine"].clone(), classes.clone(), classes.clone()
    nan[1, 2, 3, 0], collapsed[1, 0] = float("nan"), 0
    high[0, 1, 2, 1], negative[1, 0, 0, 0] = 10, -1
    yield good | dict(scores=nan), r"scores must be finite .* got nan at \(1, 2, 3, 0\)"
    yield good | dict(scores=scores.double() * 1e300), r"scores must be finite .* got .*e\+300 at"
    yield good | dict(scores=torch.full_like(scores, 1e38)), r"at most 1e\+30 in size\), got .* at \(0, 0, 0, 0\)"
    yield good | dict(classes=high), r"within the 10 classes \(0 to 9\), got class 10 at \(0, 1, 2, 1\)"
    yield good | dict(classes=negative), r"class -1 at \(1, 0, 0, 0\)"
    yield good | dict(view_affine=collapsed), "view_affine must map to a positive area, got .* for image 1"
    yield good | dict(view_affine=collapsed[:1]), r"view_affine must be \[2, 2, 3\]"
    yield good | dict(classes=classes[:1]), r"both be \[B, h, w, k\]"
    yield good | dict(grid_hw=(0, 3)), "grid_hw must be two positive"
    yield good | dict(tail="zero"), "tail must be 'zero_logit' or 'probability', got 'zero'"
    yield good | dict(tail="probability"), "needs log_norm"
    yield good | dict(outside="drop"), "outside must be 'uniform' or 'ignore'"
    yield good | dict(smoothing=1.5), r"smoothing must be in \[0, 1\], got 1.5"
    yield good | dict(smoothing="0.1"), r"smoothing must be in \[0, 1\], got '0.1'"
    yield good | dict(classes=classes.float()), "class must be an integer, got torch.float32"
    yield good | dict(classes=classes.bool()), "class must be an integer, got torch.bool"
    yield good | dict(scores=classes), "scores must be floating, got torch.int64"
    yield good | dict(grid_hw=14), "grid_hw must be two positive numbers .* got 14"
    yield good | dict(grid_hw=(2.0, 2.0)), r"grid_hw must be two positive numbers .* got \(2.0, 2.0\)"
    yield good | dict(num_classes=None), "num_classes must be a positive integer, got None"
    yield good | dict(num_classes=1, classes=classes * 0), r"must list at most 1 classes, all that exist, got 2 \(k\)"
    too_low = dict(log_norm=scores.amax(-1) - 1, tail="probability")
    yield good | too_low, r"log_norm must be the log-sum-exp .* at \(0, 0, 0\)"
    yield good | dict(frame_affines=torch.zeros(3, 1, 2, 3)), r"frame_affines must be \[2, F, 2, 3\]"
    yield good | dict(log_norm=log_norm * torch.nan), r"log_norm must be finite .* got nan at \(0, 0, 0\)"
    yield good | dict(log_norm=log_norm[:, :1], tail="probability"), r"log_norm must be \(2, 3, 4\)"


@pytest.mark.parametrize(("arguments", "message"), list(bad_inputs()))
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        token_targets(**arguments)


def test_labels_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"within the 5 classes \(0 to 4\), got label 7 at \(1,\)"):
        TokenTargets.from_labels(torch.tensor([0, 7]), 5)
