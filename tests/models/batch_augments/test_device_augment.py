"""What the device does by the draws of a sample is what the worker would have done."""

import cv2
import numpy as np
import pytest
import torch
from helpers.dispatch import Operators
from helpers.ramp_samples import ramp_sample
from mmpretrain.registry import TRANSFORMS

from mmtl.models import TokenLabelDataPreprocessor, collate_training_batch
from mmtl.models.batch_augments.device_augment import augment_images, erase_last, split_erasing
from mmtl.models.batch_augments.device_erase import Normalization
from mmtl.utils.augment_draws import DRAW_SIZE, Operation, make_draw

BGR_MEAN, BGR_STD = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]
FLIP = dict(type="mmtl.RandomFlip", prob=0.5, direction="horizontal")
RAND_AUGMENT = dict(
    type="mmtl.RandAugment",
    policies="timm_increasing",
    num_policies=2,
    total_level=10,
    magnitude_level=9,
    magnitude_std=0.5,
    hparams=dict(pad_val=[104, 116, 124], interpolation="bicubic"),
)
ERASE = dict(
    type="mmtl.RandomErasing",
    erase_prob=0.25,
    mode="rand",
    min_area_ratio=0.02,
    max_area_ratio=1 / 3,
    fill_color=BGR_MEAN,
    fill_std=BGR_STD,
)

MAGNITUDES = {
    "AutoContrast": [None],
    "Equalize": [None],
    "Invert": [None],
    "Posterize": [0, 0.4, 3, 7.2, 8],
    "Solarize": [0, 25.6, 127.9, 256],
    "SolarizeAdd": [0.0, 31.7, 110.0],
    "Brightness": [0, 0.21, 0.5, 0.83, 0.9],
    "Contrast": [0, 0.21, 0.5, 0.83, 0.9],
    "ColorTransform": [0, 0.21, 0.5, 0.83, 0.9],
    "Sharpness": [0, 0.21, 0.5, 0.83, 0.9],
}
ARGUMENT = {"Posterize": "bits", "Solarize": "thr", "Rotate": "angle"}
WARPS = [("Rotate", {}, m) for m in (3, 17.5, 30)]
WARPS += [("Rotate", dict(center=(20, 30), scale=1.2), 17.5)]
WARPS += [("Shear", dict(direction=d), m) for d in ("horizontal", "vertical") for m in (0.07, 0.3)]
WARPS += [("Translate", dict(direction=d), m) for d in ("horizontal", "vertical") for m in (0.113, 0.45)]


def natural_image(seed: int, image_hw: tuple[int, int] = (64, 72)) -> np.ndarray:
    """An image with smooth areas, edges and a little noise, its channels of different ranges."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.uniform(0, 255, (5, 6, 3)), image_hw[::-1], interpolation=cv2.INTER_CUBIC)
    for _ in range(4):
        top, left = rng.integers(0, image_hw[0] - 10), rng.integers(0, image_hw[1] - 10)
        image[top : top + 10, left : left + 14] = rng.uniform(0, 255, 3)
    image = image * [0.6, 0.9, 1] + [30, 0, 8] + rng.normal(0, 2, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def sample_of(image: np.ndarray) -> dict:
    return dict(img=image.copy(), img_shape=image.shape[:2], ori_shape=image.shape[:2], img_path="a.png", gt_label=1)


def in_worker(step: dict, image: np.ndarray, seed: int) -> np.ndarray:
    np.random.seed(seed)
    return TRANSFORMS.build(step)(sample_of(image))["img"]


def packed(steps: list[dict], image: np.ndarray, seed: int) -> dict:
    np.random.seed(seed)
    results = sample_of(image)
    for step in (*(dict(step, on_device=True) for step in steps), dict(type="mmtl.PackTokenLabelInputs")):
        results = TRANSFORMS.build(step)(results)
    return results


def on_device(steps: list[dict], images: list[np.ndarray], seeds: list[int], device: str = "cpu") -> np.ndarray:
    """[B, H, W, 3]."""
    samples = [packed(steps, image, seed) for image, seed in zip(images, seeds, strict=True)]
    inputs = torch.stack([sample["inputs"] for sample in samples]).to(device)
    draws = torch.stack([sample["data_samples"].augment for sample in samples])
    return augment_images(inputs, draws).permute(0, 2, 3, 1).cpu().numpy()


def single_policy(name: str, magnitude: float | None, **options: object) -> dict:
    policy = dict(type=name, prob=1.0, **options)
    if magnitude is not None:
        policy[ARGUMENT.get(name, "magnitude")] = magnitude
    return dict(type="mmtl.RandAugment", policies=[policy], num_policies=1, magnitude_level=9)


@pytest.mark.parametrize(("name", "magnitude"), [(name, m) for name, values in MAGNITUDES.items() for m in values])
def test_color_operations_equal_those_of_the_worker_to_the_bit(name, magnitude):
    step, seeds = single_policy(name, magnitude), list(range(6))  # magnitudes of both signs
    images = [natural_image(seed) for seed in seeds]
    expected = [in_worker(step, image, seed) for image, seed in zip(images, seeds, strict=True)]
    np.testing.assert_array_equal(on_device([step], images, seeds), expected)


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize", "Contrast"])
@pytest.mark.parametrize("levels", [[0], [255], [7, 9], [0, 255]], ids=str)
def test_color_operations_equal_those_of_the_worker_on_images_of_few_levels(name, levels):
    step = single_policy(name, 0.5 if name == "Contrast" else None)
    image = np.random.default_rng(0).choice(np.array(levels, np.uint8), (33, 20, 3))
    np.testing.assert_array_equal(on_device([step], [image], [0])[0], in_worker(step, image, 0))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(("name", "options", "magnitude"), WARPS, ids=str)
def test_warps_differ_from_those_of_the_worker_by_rounding_only(name, options, magnitude, interpolation):
    step = single_policy(name, magnitude, **options, pad_val=(20, 120, 220), interpolation=interpolation)
    seeds = list(range(4))
    images = [natural_image(seed) for seed in seeds]
    expected = np.stack([in_worker(step, image, seed) for image, seed in zip(images, seeds, strict=True)])
    difference = np.abs(on_device([step], images, seeds).astype(int) - expected)
    assert difference.mean() < (0.5 if interpolation == "nearest" else 0.05)  # gray levels; ties of nearest


@pytest.mark.parametrize("pad_val", [128, (20, 120, 220)], ids=str)
@pytest.mark.parametrize(("name", "magnitude"), [("Rotate", 40), ("Shear", 0.5), ("Translate", 0.5)])
def test_warps_fill_all_channels_as_in_the_worker(name, magnitude, pad_val):
    step = single_policy(name, magnitude, pad_val=pad_val, interpolation="bilinear")
    image = natural_image(0)
    warped = in_worker(step, image, 0)
    assert any((warped[row, column] == pad_val).all() for row in (0, -1) for column in (0, -1))
    assert np.abs(on_device([step], [image], [0])[0].astype(int) - warped).mean() < 0.05


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
def test_flips_equal_those_of_the_worker(direction):
    step = dict(type="mmtl.RandomFlip", prob=1.0, direction=direction)
    image = natural_image(0)
    np.testing.assert_array_equal(on_device([step], [image], [0])[0], in_worker(step, image, 0))


def test_every_image_has_its_own_operations_in_the_drawn_order():
    """Invert after Solarize differs from Solarize after Invert, and fill colors show which warp came first."""
    image = natural_image(3)
    first = make_draw(Operation.SOLARIZE, threshold=100)
    second = make_draw(Operation.WARP_BILINEAR, affine=[[1, 0, 0.5], [0, 1, 0]], fill=[5, 6, 7])
    third = make_draw(Operation.INVERT)
    orders = [[first, second, third], [third, second, first], [second, first, third], [third, first, second]]
    draws = torch.from_numpy(np.stack([np.stack(order) for order in orders]))
    together = augment_images(torch.from_numpy(image).permute(2, 0, 1).expand(4, -1, -1, -1), draws)
    for result, order in zip(together.permute(0, 2, 3, 1).numpy(), orders, strict=True):
        expected = image.astype(int)
        for row in order:
            if row is first:
                expected = np.where(expected < 100, expected, 255 - expected)
            elif row is second:
                half = image.shape[1] // 2
                expected = np.concatenate([expected[:, half:], np.broadcast_to([5, 6, 7], (64, half, 3))], axis=1)
            else:
                expected = 255 - expected
        np.testing.assert_array_equal(result, expected)


def test_recipe_equals_the_worker_except_for_the_noise():
    seeds = list(range(64))
    images = [natural_image(seed) for seed in seeds]
    steps = [FLIP, RAND_AUGMENT, dict(ERASE, mode="const")]
    expected = []
    for image, seed in zip(images, seeds, strict=True):
        np.random.seed(seed)
        results = sample_of(image)
        for step in steps:
            results = TRANSFORMS.build(step)(results)
        expected.append(results["img"])
    difference = np.abs(on_device(steps, images, seeds).astype(int) - np.stack(expected))
    assert difference.mean(axis=(1, 2, 3)).max() < 0.1


def test_images_are_left_as_they_were():
    images = torch.from_numpy(natural_image(0)).permute(2, 0, 1)[None].clone()
    before = images.clone()
    augment_images(images, torch.from_numpy(np.stack([make_draw(Operation.INVERT)]))[None])
    torch.testing.assert_close(images, before, rtol=0, atol=0)


def test_no_draws_return_the_images():
    images = torch.from_numpy(natural_image(0)).permute(2, 0, 1)[None]
    torch.testing.assert_close(augment_images(images, torch.zeros(1, 2, DRAW_SIZE)), images, rtol=0, atol=0)
    torch.testing.assert_close(augment_images(images, torch.zeros(1, 0, DRAW_SIZE)), images, rtol=0, atol=0)


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, 4, dtype=torch.uint8)])
def test_color_operations_of_images_that_are_not_bgr_of_8_bit_are_refused_by_name(images):
    draws = [make_draw(kind, value=1) for kind in (Operation.FLIP_VERTICAL, Operation.EQUALIZE, Operation.POSTERIZE)]
    with pytest.raises(ValueError, match=f"POSTERIZE, EQUALIZE: .*got {images.shape[1]} channels of {images.dtype}"):
        augment_images(images, torch.from_numpy(np.stack(draws))[None])
    assert augment_images(images, torch.zeros(1, 1, DRAW_SIZE)).equal(images)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_an_image_of_many_channels_moves_as_its_channels_would_alone(channels):
    images = torch.rand(2, channels, 12, 14, generator=torch.Generator().manual_seed(0)) * 9000
    affine = [[0.9, 0.2, 0.1], [-0.1, 1.1, 0]]
    moves = [make_draw(kind, affine=affine) for kind in Operation if kind.name.startswith(("FLIP", "WARP"))]
    draws = torch.from_numpy(np.stack([moves, moves[::-1]]))
    alone = [augment_images(images[:, [c] * 3], draws)[:, :1] for c in range(channels)]
    torch.testing.assert_close(augment_images(images, draws), torch.cat(alone, dim=1))


@pytest.mark.parametrize("std", [0, 57.0])
def test_boxes_of_many_channels_are_filled_by_the_mean_or_by_noise_of_its_std(std):
    draw = make_draw(Operation.ERASE_NORMAL, box_xyxy=(2, 1, 52, 61), fill=100, std=std, seed=5)
    normalization = Normalization(np.arange(4) * 100.0, np.full(4, 10.0), to_rgb=False)
    images = torch.full((1, 4, 64, 64), 7.0)
    erased = erase_last(images.clone(), torch.from_numpy(draw)[None, None], normalization)
    box = erased[..., 1:61, 2:52]
    assert (erased == 7).sum() >= images.numel() - box.numel()
    assert box.mean((0, 2, 3)).abs().max() < 0.1 and (box.std((0, 2, 3)) - float(std > 0)).abs().max() < 0.1


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_batch_of_the_recipe_takes_few_operators_and_never_waits_for_the_device(device):
    """A tensor on the device 'meta' has no values: reading one on the host would fail."""
    samples = [packed([FLIP, RAND_AUGMENT, ERASE], natural_image(0, (32, 32)), seed) for seed in range(128)]
    images = torch.stack([sample["inputs"] for sample in samples]).to(device)
    draws = torch.stack([sample["data_samples"].augment for sample in samples])
    drawn = {Operation(int(code)) for code in draws[..., 0].unique()}
    assert len(drawn) == 10 + 4  # ten color operations; warp, flip, erase, identity
    with Operators() as operators:
        assert augment_images(images, draws).shape == images.shape
    assert len(operators.calls) <= 300 and not operators.mixing_devices()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_training_batch_of_the_recipe_has_few_tensors_and_takes_few_operators_to_prepare(device):
    """On the device 'meta', copies to it count as on a GPU; constants are copied with the first batch."""
    steps = [dict(type="mmtl.RandomResizedCrop", scale=32, backend="torch")]
    steps += [dict(step, on_device=True) for step in (FLIP, RAND_AUGMENT, ERASE)]
    chain = [TRANSFORMS.build(step) for step in (*steps, dict(type="mmtl.PackTokenLabelInputs"))]
    samples = []
    for seed in range(128):
        np.random.seed(seed)
        results = ramp_sample((40, 50))
        for step in chain:
            results = step(results)
        samples.append(results)
    batch = collate_training_batch(samples, num_classes=12)
    augments = dict(augments=[dict(type="mmtl.MixToken")])
    preprocessor = TokenLabelDataPreprocessor(
        12, token_stride=8, smoothing=0.1, batch_augments=augments, mean=BGR_MEAN, std=BGR_STD, to_rgb=True
    )
    assert len(batch) <= 10 and {"augment", "frame_affines"} < set(batch)
    preprocessor.to(device)(batch, training=True)
    with Operators() as operators:
        preprocessor(batch, training=True)
    assert len(operators.calls) <= 400 and not operators.mixing_devices()


def erased(seed: int, operation: Operation = Operation.ERASE_NORMAL, box=(0, 0, 200, 150), **fields) -> np.ndarray:
    """A black image [H, W, 3] after erasing."""
    fields = dict(fill=BGR_MEAN, std=BGR_STD) | fields
    row = make_draw(operation, box_xyxy=box, seed=seed, **fields)
    images = torch.zeros(1, 3, 150, 200, dtype=torch.uint8)
    return augment_images(images, torch.from_numpy(np.stack([row]))[None])[0].permute(1, 2, 0).numpy()


def test_erasing_changes_the_box_only():
    image = erased(5, box=(20, 30, 70, 90), fill=[200, 200, 200], std=[5, 5, 5])
    assert (image[30:90, 20:70] > 100).all()
    image[30:90, 20:70] = 0
    assert not image.any()


@pytest.mark.parametrize(
    ("operation", "draw"),
    [
        (Operation.ERASE_NORMAL, lambda rng, shape: rng.normal(BGR_MEAN, BGR_STD, shape).astype(int).clip(0, 255)),
        (Operation.ERASE_UNIFORM, lambda rng, shape: rng.integers(0, 256, shape)),
    ],
    ids=["normal", "uniform"],
)
def test_noise_has_the_distribution_of_the_workers(operation, draw):
    """Largest distance between the distribution functions; 1.95 / sqrt(n / 2) is exceeded once in a thousand."""
    noise = np.stack([erased(seed, operation) for seed in range(4)])
    expected = draw(np.random.default_rng(0), noise.shape)
    for channel in range(3):
        histograms = [np.bincount(x[..., channel].ravel(), minlength=256) / (4 * 150 * 200) for x in (noise, expected)]
        distance = np.abs(np.cumsum(histograms[0] - histograms[1])).max()
        assert distance < 1.95 / np.sqrt(4 * 150 * 200 / 2)


@pytest.mark.parametrize("to_rgb", [False, True])
def test_noise_after_normalization_is_standard_normal_unclipped_and_in_the_box_only(to_rgb):
    """With the fill and deviation of the normalization, as timm's ``pixel`` mode erases."""
    order = slice(None, None, -1) if to_rgb else slice(None)
    normalization = Normalization(np.array(BGR_MEAN[order]), np.array(BGR_STD[order]), to_rgb)
    rows = [
        make_draw(Operation.ERASE_NORMAL, box_xyxy=(8, 16, 200, 150), seed=s, fill=BGR_MEAN, std=BGR_STD)
        for s in range(4)
    ]
    images = torch.full((4, 3, 150, 200), 7.0)
    erased = erase_last(images.clone(), torch.from_numpy(np.stack(rows))[:, None], normalization)
    noise = erased[:, :, 16:, 8:].double()
    n = noise[:, 0].numel()
    assert (noise.mean((0, 2, 3)).abs() < 4 / np.sqrt(n)).all()
    assert ((noise.std((0, 2, 3)) - 1).abs() < 4 / np.sqrt(2 * n)).all()
    assert noise.amin() < -4 and noise.amax() > 4  # gray levels from 0 to 255 are -2.2 to 2.8
    erased[:, :, 16:, 8:] = 7
    assert torch.equal(erased, images)


def test_erasing_that_other_steps_follow_is_left_in_its_position():
    erase, flip, idle = (make_draw(Operation(kind), seed=1) for kind in (Operation.ERASE_UNIFORM, 1, 0))
    for steps, length in (([erase, flip], 2), ([flip, erase], 1), ([flip, idle], 1), ([erase, idle, erase], 0)):
        draws = torch.from_numpy(np.stack([steps, [idle] * len(steps)]))
        before, last = split_erasing(draws)
        assert before.shape[1] == length
        torch.testing.assert_close(torch.cat([before, last], dim=1), draws)


def test_noise_is_independent_between_seeds_channels_and_neighbors():
    noise = [erased(seed).astype(float) for seed in (0, 1, 2**24 - 1)]
    first = noise[0]
    pairs = [(first, noise[1]), (first, noise[2]), (noise[1], noise[2])]
    pairs += [(first[:, 1:], first[:, :-1]), (first[1:], first[:-1]), (first[..., 1:], first[..., :-1])]
    pairs += [(first[1:], noise[1][:-1]), (first[:, 1:], noise[1][:, :-1])]
    for one, other in pairs:
        n = one.shape[0] * one.shape[1]
        for channel in range(one.shape[2]):
            correlation = np.corrcoef(one[..., channel].ravel(), other[..., channel].ravel())[0, 1]
            assert abs(correlation) < 4 / np.sqrt(n)


def test_noise_follows_from_the_seed_whatever_the_batch():
    rows = [make_draw(Operation.ERASE_NORMAL, box_xyxy=(0, 0, 72, 64), seed=s, fill=128, std=50) for s in (3, 4, 5)]
    images = torch.from_numpy(np.stack([natural_image(seed) for seed in range(3)])).permute(0, 3, 1, 2)
    together = augment_images(images, torch.from_numpy(np.stack([np.stack([row]) for row in rows])))
    single = augment_images(images[2:], torch.from_numpy(np.stack(rows[2:]))[None])
    torch.testing.assert_close(together[2:], single, rtol=0, atol=0)
    assert (together[0] != together[1]).float().mean() > 0.9
