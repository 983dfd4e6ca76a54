"""Steps with ``on_device=True``: the draws of the worker's form, and no change of the image afterwards."""

import functools

import numpy as np
import pytest
import torch
from helpers.ramp_samples import ramp_sample
from helpers.synthetic_data import write_classification_data
from mmpretrain.datasets.transforms.auto_augment import RANDAUG_POLICIES
from mmpretrain.registry import DATASETS, TRANSFORMS
from torch.utils.data import BatchSampler, DataLoader

from mmtl.engine.hooks.exact_resume import NumberedSampler, load_seeded
from mmtl.models import collate_training_batch
from mmtl.models.batch_augments.device_augment import augment_images
from mmtl.utils.augment_draws import DRAW, DRAW_SIZE, NUM_SEEDS, Operation, unpack_draws

PACK = dict(type="mmtl.PackTokenLabelInputs")
CROP = dict(type="mmtl.RandomResizedCrop", scale=32, backend="torch", interpolation="random")
FLIP = dict(type="mmtl.RandomFlip", prob=0.5, direction=["horizontal", "vertical"])
RAND_AUGMENT = dict(
    type="mmtl.RandAugment", policies="timm_increasing", num_policies=3, magnitude_level=9, magnitude_std=0.5
)
ERASE = dict(type="mmtl.RandomErasing", erase_prob=0.5, mask_labels=True, fill_color=(1, 2, 3))


def run(*configs, seed=0, image_hw=(50, 70)):
    np.random.seed(seed)
    results = ramp_sample(image_hw)
    for config in configs:
        results = TRANSFORMS.build(config)(results)
    return results


def on_device(config, **changes):
    return dict(config, on_device=True, **changes)


def draws_of(*configs, **kwargs):
    return unpack_draws(run(*configs, PACK, **kwargs)["data_samples"].augment.numpy())


@pytest.mark.parametrize("seed", range(60))
def test_draws_view_and_random_stream_are_those_of_the_worker(seed):
    steps = [CROP, FLIP, RAND_AUGMENT, dict(ERASE, mode="const")]
    expected = run(*steps, seed=seed)
    results = run(CROP, *map(on_device, steps[1:3]), seed=seed)
    stream_before_erasing = np.random.get_state()[1]
    results = TRANSFORMS.build(on_device(steps[3]))(results)
    run(*steps[:3], seed=seed)
    np.testing.assert_array_equal(np.random.get_state()[1], stream_before_erasing)
    for name in ("view_affine", "frame_affines", "erased_affines"):
        np.testing.assert_array_equal(results[name], expected[name])
    assert results["flip"] == expected["flip"] and results["view_flip"] == expected["view_flip"]


def test_image_is_that_before_the_steps_and_there_is_one_row_per_operation():
    for seed in range(20):
        packed = run(CROP, *map(on_device, (FLIP, RAND_AUGMENT, ERASE)), PACK, seed=seed)
        torch.testing.assert_close(packed["inputs"], run(CROP, PACK, seed=seed)["inputs"], rtol=0, atol=0)
        assert packed["data_samples"].augment.shape == (1 + 3 + 1, DRAW_SIZE)
        assert packed["data_samples"].augment.dtype == torch.float32


def test_sample_without_such_steps_has_no_draws():
    assert "augment" not in run(CROP, FLIP, PACK)["data_samples"]


@pytest.mark.parametrize("preset", sorted(RANDAUG_POLICIES))
def test_presets_of_mmpretrain_have_a_form_on_the_device(preset):
    operations = {
        Operation(int(code))
        for seed in range(300)
        for code in draws_of(on_device(RAND_AUGMENT, policies=preset), seed=seed)["operation"]
    }
    kinds = {policy["type"] for policy in RANDAUG_POLICIES[preset]} - {"Rotate", "Shear", "Translate"}
    warps = {Operation.WARP_BICUBIC, Operation.WARP_NEAREST}  # default interpolations of shear, and of the others
    assert len(operations - warps - {Operation.IDENTITY}) == len(kinds) and warps < operations


def test_probability_of_a_policy_holds_on_the_device():
    never = on_device(RAND_AUGMENT, policies=[dict(type="Invert", prob=0.0)])
    always = on_device(RAND_AUGMENT, policies=[dict(type="Invert", prob=1.0)])
    assert (draws_of(never)["operation"] == Operation.IDENTITY).all()
    assert (draws_of(always)["operation"] == Operation.INVERT).all()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (dict(type="GaussianBlur", magnitude_range=(0, 2)), "GaussianBlur has no form on the device.*on_device=False"),
        (dict(type="Cutout", magnitude_range=(1, 41)), "Cutout has no form on the device.*on_device=False"),
        (dict(type="Rotate", angle=30.0, interpolation="lanczos"), "Rotate.*'lanczos'.*on_device=False"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_policy_without_a_form_on_the_device_is_refused(policy, message):
    config = dict(RAND_AUGMENT, policies=[dict(type="Invert"), policy])
    TRANSFORMS.build(config)
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(on_device(config))


@pytest.mark.parametrize(
    "late",
    [
        dict(type="mmtl.Resize", scale=(50, 50)),
        dict(type="mmtl.RandomFlip", prob=1.0),
        dict(type="mmtl.Rotate", angle=10.0, prob=1.0),
        dict(RAND_AUGMENT, policies=[dict(type="Invert", prob=1.0)]),
        dict(type="ColorJitter", brightness=0.4),
        dict(ERASE, erase_prob=1.0),
        dict(ERASE, erase_prob=0.0),
    ],
    ids=lambda config: config["type"],
)
@pytest.mark.parametrize("then", [PACK, on_device(FLIP)], ids=["packing", "another step"])
def test_change_of_the_image_in_the_worker_afterwards_is_refused(late, then):
    with pytest.raises(ValueError, match=r"after a step with on_device=True.*a/b.png.*on_device=False"):
        run(on_device(FLIP), late, then)


def test_write_to_the_image_by_another_packages_step_afterwards_is_refused():
    with pytest.raises(ValueError, match="read-only"):
        run(on_device(FLIP), dict(type="RandomErasing", erase_prob=1.0), PACK)


def test_steps_in_the_worker_before_those_on_the_device_are_accepted():
    run(FLIP, dict(type="ColorJitter", brightness=0.4), RAND_AUGMENT, ERASE, *map(on_device, (FLIP, ERASE)), PACK)


@pytest.mark.parametrize(
    ("mode", "fill_std", "operation", "std"),
    [
        ("const", None, Operation.ERASE_NORMAL, 0),
        ("const", (4, 5, 6), Operation.ERASE_NORMAL, 0),
        ("rand", (4, 5, 6), Operation.ERASE_NORMAL, (4, 5, 6)),
        ("rand", None, Operation.ERASE_UNIFORM, 0),
    ],
)
def test_modes_of_erasing(mode, fill_std, operation, std):
    config = on_device(ERASE, erase_prob=1.0, mode=mode, fill_std=fill_std)
    (row,) = draws_of(config)
    assert row["operation"] == operation and 0 <= row["seed"] < NUM_SEEDS
    np.testing.assert_array_equal(row["std"], np.broadcast_to(std, 3))
    if operation == Operation.ERASE_NORMAL:
        np.testing.assert_array_equal(row["fill"], [1, 2, 3])
    assert len({float(draws_of(config, seed=seed)[0]["seed"]) for seed in range(20)}) == 20


def test_unpacked_draws_are_those_recorded():
    (row,) = draws_of(on_device(RAND_AUGMENT, num_policies=1, policies=[dict(type="Rotate", angle=20.0, prob=1.0)]))
    assert row["operation"] == Operation.WARP_NEAREST
    np.testing.assert_array_equal(row["fill"], [128, 128, 128])
    with pytest.raises(ValueError, match=f"{DRAW_SIZE} values.*{DRAW_SIZE - 1}"):
        unpack_draws(np.zeros((2, DRAW_SIZE - 1), np.float32))
    assert all(DRAW[name].base == np.float32 for name in DRAW.names)


def augmented_batches(root, workers, skip=0):
    """Return the augmented images of the batches of one epoch, in a run with ExactResumeHook."""
    noise = on_device(ERASE, erase_prob=0.9, mode="rand", fill_std=(50, 60, 70))
    steps = [dict(type="mmtl.LoadImageFromFile"), CROP, on_device(FLIP), on_device(RAND_AUGMENT), noise, PACK]
    dataset = DATASETS.build(dict(type="CustomDataset", data_root=str(root / "images/train"), pipeline=steps))
    dataset.__getitems__ = functools.partial(load_seeded, dataset, 5, 0)
    sampler = NumberedSampler(range(len(dataset)))
    sampler.skip = sampler.position = skip
    batches = BatchSampler(sampler, 8, drop_last=False)
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=workers, collate_fn=collate_training_batch)
    return [augment_images(batch["inputs"], batch["augment"]) for batch in loader]


def test_augmented_images_and_noise_are_the_same_with_any_number_of_workers_and_after_resuming(tmp_path):
    write_classification_data(tmp_path)
    expected = augmented_batches(tmp_path, workers=0)
    assert len(expected) == 5 and len({batch.float().mean().item() for batch in expected}) == 5
    for batches, reference in (
        (augmented_batches(tmp_path, workers=4), expected),
        (augmented_batches(tmp_path, workers=4, skip=16), expected[2:]),
    ):
        assert len(batches) == len(reference)
        assert all(torch.equal(one, other) for one, other in zip(batches, reference, strict=True))
