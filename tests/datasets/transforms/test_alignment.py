"""The law of alignment: whatever happened to the image, a token has the label of what its patch shows.

It holds for pixels that are moved in the worker and for those that the draws of ``on_device=True`` move in the batch.
"""

import cv2
import numpy as np
import pytest
from helpers.ramp_samples import cell_of, encoded_positions, ramp_sample
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mmcv.transforms import Compose
from mmpretrain.registry import TRANSFORMS

from mmtl.datasets.transforms import geometry, processing, rand_augment, view
from mmtl.models.batch_augments import device_augment, device_warp
from mmtl.models.collate import collate_training_batch
from mmtl.models.data_preprocessor import TokenLabelDataPreprocessor
from mmtl.models.token_labels.targets import token_targets

PATCH = 8
BORDER = 0.15  # cells; resampling 8-bit images several times moves the image content by up to this much
FOOTPRINT = 0.85  # cells; a patch that shows more of the map than this shows several classes

WARP = dict(prob=1.0, magnitude_std="inf", pad_val=0)
POLICIES = [
    dict(type="Rotate", magnitude_range=(0, 45), interpolation="bilinear", **WARP),
    dict(type="Shear", magnitude_range=(0, 0.4), direction="horizontal", **WARP),
    dict(type="Shear", magnitude_range=(0, 0.4), direction="vertical", **WARP),
    dict(type="Translate", magnitude_range=(0, 0.3), direction="horizontal", **WARP),
    dict(type="Translate", magnitude_range=(0, 0.3), direction="vertical", **WARP),
]
STEPS = [
    dict(type="mmtl.RandomResizedCrop", scale=(100, 150), crop_ratio_range=(0.4, 1), interpolation="random"),
    dict(type="mmtl.RandomResizedCrop", scale=(140, 90), crop_ratio_range=(0.4, 1), interpolation="random"),
    dict(type="mmtl.RandomResizedCrop", scale=(90, 110), interpolation="random", backend="torch"),
    dict(type="mmtl.RandomFlip", prob=0.9, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="mmtl.Resize", scale=(170, 110)),
    dict(type="mmtl.ResizeEdge", scale=120, edge="short"),
    dict(type="mmtl.CenterCrop", crop_size=(130, 100), auto_pad=True),
    dict(type="mmtl.CenterCrop", crop_size=110),
    dict(type="mmtl.Pad", size_divisor=48),
    dict(type="mmtl.RandAugment", policies=POLICIES, num_policies=2, magnitude_level=10),
    *(dict(policy, type=f"mmtl.{policy['type']}", magnitude_level=10) for policy in POLICIES),
    dict(type="mmtl.RandomErasing", erase_prob=0.5, max_area_ratio=0.1, fill_color=0, mask_labels=True),
]
DEVICE_STEPS = [
    dict(step, on_device=True)
    for step in STEPS
    if step["type"] in ("mmtl.RandomFlip", "mmtl.RandAugment", "mmtl.RandomErasing")
]


_sampling_grid, _unpack_draws = device_warp.sampling_grid, device_augment.unpack_draws


def chains(device_steps):
    return st.fixed_dictionaries(
        dict(
            image_hw=st.tuples(st.integers(90, 220), st.integers(90, 220)),
            map_hw=st.tuples(st.integers(3, 7), st.integers(3, 7)),
            grid_hw=st.tuples(st.integers(6, 12), st.integers(6, 12)),
            steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=6),
            ends_with_crop=st.booleans(),
            device_steps=device_steps,
            seed=st.integers(0, 2**32 - 1),
        )
    )


samples = chains(st.just([]))
device_samples = chains(st.lists(st.sampled_from(DEVICE_STEPS), min_size=1, max_size=4))


def run_chain(
    image_hw, map_hw, grid_hw, steps, ends_with_crop, device_steps, seed, coverage=None, spoil=lambda affine: affine
):
    """Return the network's input [H, W, 3] and the targets [N, K] of one chain."""
    np.random.seed(seed)
    height, width = PATCH * grid_hw[0], PATCH * grid_hw[1]
    crop = dict(type="mmtl.RandomResizedCrop", scale=(height, width), crop_ratio_range=(0.4, 1))
    last = crop if ends_with_crop else dict(type="mmtl.Resize", scale=(width, height))
    configs = (*steps, last, *device_steps, dict(type="mmtl.PackTokenLabelInputs"))
    sample = ramp_sample(image_hw, map_hw) | (dict(score_map_coverage=coverage) if coverage else {})
    packed = Compose([TRANSFORMS.build(config) for config in configs])(sample)
    data, inputs = packed["data_samples"], packed["inputs"]
    if device_steps:
        inputs = device_augment.augment_images(inputs[None], data.augment[None])[0]
    scores, classes = data.score_map_scores[None], data.score_map_classes[None]
    frames = data.frame_affines[None] if "frame_affines" in data else None
    view_affine, num_classes = spoil(data.view_affine)[None], map_hw[0] * map_hw[1]
    targets = token_targets(scores, classes, view_affine, grid_hw, num_classes, frame_affines=frames)
    return inputs.permute(1, 2, 0).numpy(), targets.dense()[0].numpy()


def compare(map_hw, coverage=None, **sample):
    """Return the top-1 class and the class seen of the clear tokens of one chain, and the number of all tokens."""
    image, targets = run_chain(map_hw=map_hw, coverage=coverage, **sample)
    seen, clear = seen_cells(image, map_hw, covered_box(coverage, sample["image_hw"]))
    return targets.argmax(axis=-1)[clear], seen[clear], clear.size


def covered_box(coverage, image_hw):
    """The largest square at the center of an image, or all of it, (x1, y1, x2, y2) in its unit square."""
    height, width = image_hw
    x1, y1 = (max(0, a - b) / (2 * a) if coverage else 0 for a, b in ((width, height), (height, width)))
    return np.array([x1, y1, 1 - x1, 1 - y1])


def seen_cells(image, map_hw, box_xyxy=(0, 0, 1, 1)):
    """Return the map cell that the colors of each patch encode, [N], and whether they encode only one, [N]."""
    positions, inside = encoded_positions(image)
    low, high = np.split(np.asarray(box_xyxy, dtype=float), 2)
    positions = (positions - low) / (high - low)
    inside &= ((positions > 0) & (positions < 1)).all(axis=-1)
    patches = image.shape[0] // PATCH, PATCH, image.shape[1] // PATCH, PATCH
    inside = inside.reshape(patches).all(axis=(1, 3)).ravel()
    in_cells = (positions * map_hw[::-1]).reshape(*patches, 2)
    middle = in_cells.mean(axis=(1, 3)).reshape(-1, 2)
    footprint = np.ptp(in_cells, axis=(1, 3)).reshape(-1, 2)
    from_border = np.abs(middle - np.rint(middle))
    clear = inside & (footprint < FOOTPRINT).all(axis=-1) & (from_border > BORDER).all(axis=-1)
    return cell_of(middle, map_hw), clear


def search(max_examples, strategy=samples, **changes):
    """Look for a chain that breaks the law; return the numbers of clear and of all tokens, [chains, 2]."""
    counts = []

    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def law(sample):
        first, seen, total = compare(**sample, **changes)
        counts.append((first.size, total))
        np.testing.assert_array_equal(first, seen)

    law()
    return np.array(counts)


@pytest.mark.parametrize("strategy", [samples, device_samples], ids=["in the worker", "on the device"])
def test_every_token_has_the_label_of_what_its_patch_shows(strategy):
    clear, total = search(max_examples=700, strategy=strategy).T
    assert (clear > 0).sum() >= 500  # chains; some end with no clear token
    assert clear.sum() > 0.2 * total.sum()


@pytest.mark.parametrize("strategy", [samples, device_samples], ids=["in the worker", "on the device"])
def test_law_holds_for_maps_of_the_center_square_of_images_of_any_aspect_ratio(strategy):
    clear, total = search(max_examples=300, strategy=strategy, coverage="center-square").T
    assert (clear > 0).sum() >= 200
    assert clear.sum() > 0.15 * total.sum()


def test_law_is_broken_by_taking_the_center_square_for_the_image(monkeypatch):
    monkeypatch.setattr(view, "coverage_box", lambda coverage, image_hw: (0.0, 0.0, 1.0, 1.0))
    with pytest.raises(AssertionError):
        search(max_examples=50, coverage="center-square")


@settings(max_examples=200, deadline=None)
@given(samples)
def test_token_that_shows_nothing_of_the_covered_square_has_the_uniform_label(sample):
    image, targets = run_chain(**sample, coverage="center-square")
    positions, inside = encoded_positions(image)
    x1, y1, x2, y2 = covered_box("center-square", sample["image_hw"]) + np.array([-0.02, -0.02, 0.02, 0.02])
    x, y = np.moveaxis(positions, -1, 0)
    beside = inside & ((x < x1) | (x > x2) | (y < y1) | (y > y2))
    patches = beside.reshape(image.shape[0] // PATCH, PATCH, image.shape[1] // PATCH, PATCH)
    empty = patches.all(axis=(1, 3)).ravel()
    np.testing.assert_allclose(targets[empty], 1 / targets.shape[1], atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(samples)
def test_token_that_shows_only_padding_has_the_uniform_label(sample):
    sample["steps"] = [step for step in sample["steps"] if step["type"] != "mmtl.RandomErasing"]
    image, targets = run_chain(**sample)
    padding = cv2.erode((image == 0).all(axis=-1).astype(np.uint8), np.ones((3, 3)))  # resizing blurs its edge
    patches = padding.reshape(image.shape[0] // PATCH, PATCH, image.shape[1] // PATCH, PATCH)
    empty = patches.all(axis=(1, 3)).ravel()
    np.testing.assert_allclose(targets[empty], 1 / targets.shape[1], atol=1e-6)


def test_padding_of_one_image_does_not_change_the_other_images_of_a_batch():
    turn = dict(type="mmtl.Rotate", angle=30.0, prob=1.0, pad_val=0)
    chains = [[turn, dict(type="mmtl.Translate", magnitude=0.2, prob=1.0)], [], [turn]]
    last = [dict(type="mmtl.Resize", scale=(48, 48)), dict(type="mmtl.PackTokenLabelInputs")]
    batch = [Compose([TRANSFORMS.build(c) for c in (*chain, *last)])(ramp_sample((90, 120))) for chain in chains]
    preprocessor = TokenLabelDataPreprocessor(num_classes=12, token_stride=PATCH)
    together = preprocessor.build_targets(collate_training_batch(batch), (48, 48)).patch_tokens.dense()
    single = [preprocessor.build_targets(collate_training_batch([x]), (48, 48)).patch_tokens.dense()[0] for x in batch]
    np.testing.assert_allclose(together, np.stack(single), atol=1e-6)


def test_law_is_broken_by_swapping_x_and_y():
    with pytest.raises(AssertionError):
        search(max_examples=20, spoil=lambda affine: affine[[1, 0]][:, [1, 0, 2]])


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        (processing, "flip_affine", lambda direction: geometry.identity_affine()),
        (processing, "pad_affine", lambda padding, image_hw: geometry.identity_affine()),
        (rand_augment, "translate_affine", lambda m, d: geometry.translate_affine(-m, d)),
        (rand_augment, "shear_affine", lambda m, d, hw: geometry.shear_affine(m, d, (150, 150))),
        (rand_augment, "rotate_affine", lambda a, hw, c, s: geometry.rotate_affine(a, (150, 150), c, s)),
        (view, "compose", lambda outer, inner: geometry.compose(inner, outer)),
    ],
    ids=[
        "flip lost",
        "padding lost",
        "translation reversed",
        "square shear",
        "square rotation",
        "wrong order",
    ],
)
def test_law_is_broken_by(module, name, wrong, monkeypatch):
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(AssertionError):
        search(max_examples=200)


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        (device_augment, "GROUPS", device_augment.GROUPS[3:]),
        (device_warp, "sampling_grid", lambda affines, images: _sampling_grid(geometry.invert(affines), images)),
        (device_augment, "unpack_draws", lambda packed: _unpack_draws(packed)[:, ::-1]),
    ],
    ids=["flip lost", "warp the other way", "wrong order"],
)
def test_law_on_the_device_is_broken_by(module, name, wrong, monkeypatch):
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(AssertionError):
        search(max_examples=200, strategy=device_samples)
