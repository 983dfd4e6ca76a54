"""The values of the released recipes as numbers, and ours beside them.

Released: the authors' code (TokenLabeling) with timm 0.4.5 and MMSegmentation 0.15. A value that departs on purpose is
tested too, with the released one and the reason in a comment; docs/differences_from_paper.md lists them all.
"""

import random

import mmengine.optim  # noqa: F401  registers the schedulers
import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.ramp_samples import encoded_positions, ramp_sample, worst_error
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from mmpretrain.datasets.transforms.auto_augment import RANDAUG_POLICIES
from mmpretrain.registry import TRANSFORMS

from mmtl.models.token_labels.targets import TokenTargets, token_targets

PRETRAINING = "configs/lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py"
RELEASED_ORDER = "configs/lvvit/lvvit-small_8xb128-tokenlabel-releasedorder-300e_in1k.py"
FINE_TUNING = "configs/lvvit/lvvit-small_8xb64-tokenlabel-30e_in1k-384px.py"
SEGMENTATION = "configs/lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"


def load(name: str) -> Config:
    return Config.fromfile(ROOT / name)


def rates_by_iteration(config: Config, steps: int) -> np.ndarray:
    """Return the learning rate of every iteration of a run."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.optim_wrapper.optimizer.lr)
    schedulers = [
        PARAM_SCHEDULERS.build({**scheduler, "optimizer": optimizer}) for scheduler in config.param_scheduler
    ]
    optimizer.step()
    rates = np.empty(steps)
    for step in range(steps):
        rates[step] = optimizer.param_groups[0]["lr"]
        for scheduler in schedulers:
            scheduler.step()
    return rates


def test_segmentation_rate_is_the_poly_decay_from_iteration_0_times_the_warm_up():
    rates, i = rates_by_iteration(load(SEGMENTATION), 160_000), np.arange(160_000)
    warm_up = np.where(i < 1500, 1 - (1 - i / 1500) * (1 - 1e-6), 1)
    released = 6e-5 * (1 - i / 160_000) * warm_up
    # MMEngine's last step is at 1499 and 159,999, where MMSegmentation 0.15 would reach it at 1500 and 160,000.
    assert abs(rates - released).max() < 4e-8
    assert abs(rates - released)[1500:].max() < 4e-10
    at_ten = [0, 1, 100, 750, 1499, 1500, 16_000, 40_000, 80_000, 120_000]
    expected = [6e-11, 4.006e-8, 3.9976e-6, 2.98594e-5, 5.93979e-5, 5.94375e-5, 5.4e-5, 4.5e-5, 3e-5, 1.5e-5]
    np.testing.assert_allclose(rates[at_ten], expected, rtol=1e-3)


def train_steps(name: str) -> list[dict]:
    """Return the transforms that change the image, in order."""
    steps = [dict(step) for step in load(name).train_dataloader.dataset.pipeline]
    return [step for step in steps if step["type"].split(".")[-1] not in ("LoadImageFromFile", "LoadScoreMap")]


def test_order_of_the_augmentation_is_timms_and_the_released_one_in_a_recipe_of_its_own():
    # Released: RandAugment sees the full image. Ours crops first, as timm and DeiT do, so that the rest can run on the
    # device; see docs/differences_from_paper.md.
    order = {name: [step["type"] for step in train_steps(name)] for name in (PRETRAINING, RELEASED_ORDER)}
    flip, policies, crop, erasing, pack = order[RELEASED_ORDER]
    assert flip == "mmtl.RandomFlip" and policies == "mmtl.RandAugment" and crop == "mmtl.RandomResizedCrop"
    assert order[PRETRAINING] == [crop, flip, policies, erasing, pack]
    by_type = {name: {step["type"]: step for step in train_steps(name)} for name in order}
    where = ("on_device", "backend")
    for kind in order[RELEASED_ORDER]:
        released, ours = ({k: v for k, v in by_type[n][kind].items() if k not in where} for n in order)
        assert released == ours
    assert [by_type[RELEASED_ORDER][kind].get("on_device", False) for kind in order[RELEASED_ORDER]] == [0, 0, 0, 1, 0]


def test_released_order_leaves_an_exact_view_for_the_labels():
    steps = train_steps(RELEASED_ORDER)[:3]
    moving = [
        policy for policy in RANDAUG_POLICIES["timm_increasing"] if policy["type"] in ("Rotate", "Shear", "Translate")
    ]
    assert len(moving) == 5
    steps[1].update(policies=moving, hparams=dict(pad_val=0, interpolation="bilinear"))
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        chain = [TRANSFORMS.build(step) for step in steps]
    framed, errors = 0, []
    for seed in range(100):
        np.random.seed(seed)
        random.seed(seed)
        results = ramp_sample((150, 200))
        for step in chain:
            results = step(results)
        if encoded_positions(results["img"])[1].mean() > 0.5:
            errors.append(worst_error(results))
        framed += len(results["frame_affines"]) > 0
    assert framed > 20 and len(errors) > 80
    assert max(errors) < 0.02  # of the image's side; 8-bit colors are resampled three times


def build(name: str) -> tuple[Config, torch.nn.Module]:
    """Return a config and its model, without storage."""
    config = load(name)
    with DefaultScope.overwrite_default_scope(config.default_scope), torch.device("meta"):
        return config, MODELS.build(config.model)


def rates_by_epoch(config: Config) -> np.ndarray:
    """Return the learning rate at the beginning of every epoch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.optim_wrapper.optimizer.lr)
    epochs, length = config.train_cfg.max_epochs, 50
    schedulers = []
    for each in config.param_scheduler:
        assert each["by_epoch"] and each["convert_to_iter_based"]
        fields = {k: v for k, v in each.items() if k not in ("type", "convert_to_iter_based")}
        kind = PARAM_SCHEDULERS.get(each["type"])
        schedulers.append(kind.build_iter_from_epoch(optimizer=optimizer, epoch_length=length, **fields))
    optimizer.step()
    rates = []
    for step in range(epochs * length):
        if step % length == 0:
            rates.append(optimizer.param_groups[0]["lr"])
        for scheduler in schedulers:
            scheduler.step()
    return np.array(rates)


TWENTY = [0, 1, 2, 3, 4, 5, 6, 10, 20, 40, 80, 120, 150, 180, 220, 260, 290, 299, 300, 309]


@pytest.mark.parametrize(
    ("size", "max_lr"), [("tiny", 1.6e-3), ("small", 1.6e-3), ("medium", 1.6e-3), ("large", 1e-3)]
)
def test_classification_rate_at_twenty_epochs(size, max_lr):
    config = load(f"configs/lvvit/lvvit-{size}_8xb128-tokenlabel-300e_in1k.py")
    t = np.arange(310)
    warm_up = 1e-6 + (max_lr - 1e-6) * t / 5
    cosine = 1e-5 + (max_lr - 1e-5) * (1 + np.cos(np.pi * np.minimum(t, 300) / 300)) / 2
    released = np.where(t < 5, warm_up, cosine)
    # Ours: the cosine starts after the warm-up, at its full rate, and steps every iteration.
    ours = 1e-5 + (max_lr - 1e-5) * (1 + np.cos(np.pi * np.clip((t - 5) / 295, 0, 1))) / 2
    ours = np.where(t < 5, warm_up, ours)
    rates = rates_by_epoch(config)
    # MMEngine ends the warm-up and the cosine one iteration early, here one of 50 per epoch.
    np.testing.assert_allclose(rates[TWENTY], ours[TWENTY], rtol=6e-3)
    np.testing.assert_allclose(rates[[0, 5, 300, 309]], [1e-6, max_lr, 1e-5, 1e-5], rtol=1e-3)
    assert abs(released - ours).max() < 0.016 * max_lr
    fine_tuning = load(FINE_TUNING)
    # Released: constant, after 5 epochs of warm-up from 1e-6, for 300 epochs. Ours: 30 epochs without warm-up.
    assert fine_tuning.optim_wrapper.optimizer.lr == 5e-6 and not fine_tuning.param_scheduler


@pytest.mark.parametrize("name", [PRETRAINING, FINE_TUNING])
def test_decay_groups_of_classification_by_name(name):
    config, model = build(name)
    decay = decay_by_name(config, model)
    # timm 0.4.5: vectors, biases and the model's no_weight_decay are free of decay.
    free = {n for n, p in model.named_parameters() if p.ndim == 1 or n.endswith(".bias")}
    free |= {"backbone.pos_embed", "backbone.cls_token"}
    assert {n for n, value in decay.items() if not value} == free
    assert {value for n, value in decay.items() if n not in free} == {0.05 if name == PRETRAINING else 1e-8}
    assert config.optim_wrapper.optimizer.type == "AdamW" and "betas" not in config.optim_wrapper.optimizer


def test_decay_groups_of_segmentation_by_name():
    decay = decay_by_name(*build(SEGMENTATION))
    # Released: 0.01 on everything. Ours: none on embeddings and LayerNorms, as in other recipes for transformers;
    # BatchNorms and biases are decayed.
    norms = {f"backbone.blocks.{i}.norm{j}.{k}" for i in range(16) for j in (1, 2) for k in ("weight", "bias")}
    assert {n for n, value in decay.items() if not value} == norms | {"backbone.pos_embed", "backbone.cls_token"}
    assert {value for value in decay.values() if value} == {0.01}


def decay_by_name(config: Config, model: torch.nn.Module) -> dict[str, float]:
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize(
    ("size", "rate", "depth"), [("tiny", 0.1, 12), ("small", 0.1, 16), ("medium", 0.2, 20), ("large", 0.3, 24)]
)
def test_drop_path_grows_linearly_over_the_blocks(size, rate, depth):
    names = [f"configs/lvvit/lvvit-{size}_8xb128-tokenlabel-300e_in1k.py"]
    if size != "tiny":  # released for L: 0.5, which its code applies as dropout; ours is that of the pretraining
        names.append(f"configs/lvvit/lvvit-{size}_upernet_8xb2-160k_ade20k-512x512.py")
    for name in names:
        _, model = build(name)
        rates = [block.drop_path_rate for block in model.backbone.blocks]
        np.testing.assert_allclose(rates, np.linspace(0, rate, depth))


def test_average_of_the_weights():
    (hook,) = load(PRETRAINING).custom_hooks
    assert 1 - hook.momentum == 0.99992 and hook.base_steps == 310 * 1251 and hook.update_buffers
    # Released: no --model-ema in the fine-tuning command.
    assert "custom_hooks" not in load(FINE_TUNING)


def test_smoothing_of_both_targets_and_weights_of_the_losses():
    config, model = build(PRETRAINING)
    preprocessor = model.data_preprocessor
    assert preprocessor.smoothing == 0.1 and preprocessor.target_cfg["tail"] == "zero_logit"
    label = TokenTargets.from_labels(torch.tensor([2]), 10, smoothing=0.1).dense()[0, 0]
    assert label.tolist() == pytest.approx([0.01, 0.01, 0.91] + 7 * [0.01])
    scores, classes = torch.full((1, 1, 1, 1), 50.0), torch.full((1, 1, 1, 1), 2)
    pooled = token_targets(scores, classes, torch.eye(2, 3)[None], (1, 1), 10, smoothing=0.1).dense()[0, 0]
    assert pooled.tolist() == pytest.approx([0.01, 0.01, 0.92] + 7 * [0.01])
    # Released: 1.0 for both losses, and the pooled map as class target. Ours: beta = 0.5 and the class label (paper).
    assert model.head.beta == 0.5 and preprocessor.class_target == "label"
    released = Config.fromfile(ROOT / PRETRAINING)
    released.merge_from_dict({"model.head.beta": 1.0, "model.data_preprocessor.class_target": "map"})
    with torch.device("meta"):
        model = MODELS.build(released.model)
    assert model.head.beta == 1 and model.data_preprocessor.class_target == "map"


def test_erasing_statistics():
    (erasing,) = [step for step in train_steps(PRETRAINING) if step["type"] == "mmtl.RandomErasing"]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        step = TRANSFORMS.build(erasing)
    np.random.seed(0)
    assert np.mean([not step.random_disable() for _ in range(20_000)]) == pytest.approx(0.25, abs=0.01)
    boxes = np.array([step.random_patch(224, 224) for _ in range(20_000)])
    top, left, height, width = boxes.T
    area, aspect = height * width / 224**2, height / width
    # timm 0.4.5 draws area and log aspect evenly and draws again what does not fit.
    assert area.mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.003) and 0.018 < area.min() and area.max() < 0.34
    assert np.log(aspect).mean() == pytest.approx(0, abs=0.02)
    assert np.log(aspect).std() == pytest.approx(2 * np.log(10 / 3) / np.sqrt(12), abs=0.02)
    assert height.max() < 224 and width.max() < 224
    assert (top + height).max() <= 224 and (left + width).max() <= 224
    # The noise is standard normal after normalization: its mean and deviation are those of the normalization.
    preprocessor = load(PRETRAINING).model.data_preprocessor
    assert erasing["fill_color"] == preprocessor.mean[::-1] and erasing["fill_std"] == preprocessor.std[::-1]
    assert erasing["mode"] == "rand" and erasing["on_device"]


# Released arguments at magnitude 9: operation, whether the sign is drawn. Posterize: bits kept.
RELEASED_POLICIES = [
    ("AutoContrast", None, None),
    ("Equalize", None, None),
    ("Invert", None, None),
    ("Rotate", 27, True),
    ("Posterize", 1, False),
    ("Solarize", 26, False),
    ("SolarizeAdd", 99, False),
    ("ColorTransform", 0.81, True),
    ("Contrast", 0.81, True),
    ("Brightness", 0.81, True),
    ("Sharpness", 0.81, True),
    ("Shear horizontal", 0.27, True),
    ("Shear vertical", 0.27, True),
    ("Translate horizontal", 0.405, True),
    ("Translate vertical", 0.405, True),
]


@pytest.mark.parametrize(("size", "count"), [("tiny", 2), ("small", 2), ("medium", 2), ("large", 3)])
def test_rand_augment_operations_probabilities_and_arguments(size, count):
    name = f"configs/lvvit/lvvit-{size}_8xb128-tokenlabel-300e_in1k.py"
    (config,) = [step for step in train_steps(name) if step["type"] == "mmtl.RandAugment"]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        step = TRANSFORMS.build(config)
    assert step.num_policies == count and len(step.transforms) == 15
    for policy, (kind, value, signed) in zip(step.transforms, RELEASED_POLICIES, strict=True):
        assert f"{type(policy).__name__} {getattr(policy, 'direction', '')}".strip() == kind
        assert policy.prob == 0.5
        if value is None:
            continue
        assert policy.magnitude_std == 0.5 and policy.total_level == 10
        assert policy.random_negative_prob == (0.5 if signed else 0)
        low, high = policy.magnitude_range
        drawn = low + 0.9 * (high - low)
        assert (np.ceil(drawn) if kind in ("Posterize", "Solarize") else drawn) == pytest.approx(value)
        if hasattr(policy, "pad_val"):
            assert tuple(policy.pad_val) == (104, 116, 124)  # BGR of the rounded mean
            # Released: bilinear or bicubic at random. Ours: bicubic.
            assert policy.interpolation == "bicubic"


def test_crop_and_flip():
    crop, flip = train_steps(PRETRAINING)[:2]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        built = TRANSFORMS.build(crop)
    assert built.crop_ratio_range == (0.08, 1.0) and built.aspect_ratio_range == (3 / 4, 4 / 3)
    assert built.max_attempts == 10 and built.interpolations == ("bilinear", "bicubic") and flip["prob"] == 0.5


@pytest.mark.parametrize(
    ("name", "resized", "crop"),
    [
        ("lvvit-tiny_8xb128-tokenlabel-300e_in1k", 248, 224),
        ("lvvit-small_8xb128-tokenlabel-300e_in1k", 248, 224),
        ("lvvit-small_8xb64-tokenlabel-30e_in1k-384px", 426, 384),
        ("lvvit-medium_8xb128-tokenlabel-300e_in1k", 224, 224),
        ("lvvit-medium_8xb64-tokenlabel-30e_in1k-384px", 384, 384),
        ("lvvit-medium_8xb64-tokenlabel-30e_in1k-448px", 448, 448),
        ("lvvit-large_8xb128-tokenlabel-300e_in1k", 224, 224),
        ("lvvit-large_8xb64-tokenlabel-30e_in1k-448px", 448, 448),
        ("lvvit-large_8xb64-tokenlabel-30e_in1k-512px", 512, 512),
    ],
)
def test_validation_sizes(name, resized, crop):
    resize, center = load(f"configs/lvvit/{name}.py").val_dataloader.dataset.pipeline[1:3]
    assert (resize.scale, resize.edge, resize.interpolation, resize.backend) == (resized, "short", "bicubic", "pillow")
    assert center.crop_size == crop


@pytest.mark.parametrize(("name", "steps"), [(PRETRAINING, 1251), (FINE_TUNING, 2502)])
def test_steps_per_epoch(name, steps):
    loader = load(name).train_dataloader
    images = torch.utils.data.TensorDataset(torch.zeros(-(-1_281_167 // 8)))  # of one of eight ranks
    built = torch.utils.data.DataLoader(images, batch_size=loader.batch_size, drop_last=loader.drop_last)
    assert len(built) == steps


@pytest.mark.parametrize(
    ("size", "dims", "channels", "blocks"),
    [
        ("small", 384, 256, (6, 9, 12, 15)),
        ("medium", 512, 256, (10, 13, 16, 19)),
        ("large", 768, 512, (14, 17, 20, 23)),
    ],
)
def test_head_widths_loss_weights_and_window_of_segmentation(size, dims, channels, blocks):
    _, model = build(f"configs/lvvit/lvvit-{size}_upernet_8xb2-160k_ade20k-512x512.py")
    head, auxiliary = model.decode_head, model.auxiliary_head
    assert head.channels == auxiliary.channels == channels and head.num_classes == 150
    assert list(head.in_channels) == [dims, dims, dims, 2048] and auxiliary.in_channels == dims
    assert (head.loss_decode.loss_weight, auxiliary.loss_decode.loss_weight) == (1.0, 0.4)
    assert (auxiliary.in_index, auxiliary.num_convs, head.dropout_ratio) == (2, 1, 0.1)
    assert tuple(model.backbone.out_indices) == blocks
    assert model.test_cfg.mode == "slide" and model.test_cfg.crop_size == (512, 512)
    assert model.test_cfg.stride == (341, 341) and not model.data_preprocessor.test_cfg  # no padding
