"""Recipes without training: data pipelines on synthetic images, learning rates and weight averages over a run."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.optim import _ParamScheduler
from mmengine.registry import HOOKS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from test_configs import CONFIGS, REGISTRIES, build_model, load, pipeline_of

from mmtl.engine.hooks import ScaledEMAHook, scaled_momentum
from mmtl.models import TokenLabelDataPreprocessor
from mmtl.models.collate import collate_training_batch
from mmtl.score_maps import ScoreMap

EPOCH_STEPS = 20  # the curves are functions of the epoch; a short one suffices
PRETRAINING = [path for path in CONFIGS if "-300e_in1k" in path.stem]
FINE_TUNING = [path for path in CONFIGS if path.stem.startswith("lvvit-") and "-30e_in1k" in path.stem]
VOLO_FINE_TUNING = [path for path in CONFIGS if path.stem.startswith("volo-") and "-30e_in1k" in path.stem]
WITH_SCORE_MAPS = [
    path
    for path in CONFIGS
    if path.stem.startswith("lvvit-") and "-tokenlabel-" in path.stem and "upernet" not in path.stem
]


def stem(path: Path) -> str:
    return path.stem


@pytest.fixture(params=CONFIGS, ids=stem)
def path(request) -> Path:
    return request.param


def schedulers(config: Config, optimizer: torch.optim.Optimizer) -> list[_ParamScheduler]:
    """Build the schedulers as the Runner does, for epochs of EPOCH_STEPS steps."""
    found, length = config.get("param_scheduler") or [], config.train_cfg.get("max_epochs")
    built = []
    for scheduler in found if isinstance(found, list) else [found]:
        scheduler = dict(scheduler)
        if not scheduler.pop("convert_to_iter_based", False):
            built.append(PARAM_SCHEDULERS.build({**scheduler, "optimizer": optimizer}))
            continue
        scheduler.setdefault("begin", 0)
        scheduler.setdefault("end", length)
        scheduler.setdefault("by_epoch", True)
        kind = PARAM_SCHEDULERS.get(scheduler.pop("type"))
        built.append(kind.build_iter_from_epoch(optimizer=optimizer, epoch_length=EPOCH_STEPS, **scheduler))
    return built


def learning_rates(config: Config, scale: float = 1.0) -> np.ndarray:
    """Return the learning rate of every step; ``scale`` is the factor of --auto-scale-lr."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=config.optim_wrapper.optimizer.lr * scale)
    built = schedulers(config, optimizer)
    epochs = config.train_cfg.get("max_epochs")
    steps = epochs * EPOCH_STEPS if epochs else 100  # of a run by iterations only the first
    rates = np.empty(steps)
    for step in range(steps):
        rates[step] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        for scheduler in built:
            scheduler.step()
    return rates


def at(rates: np.ndarray, epoch: float) -> float:
    return rates[round(epoch * EPOCH_STEPS)]


@pytest.mark.parametrize("path", PRETRAINING, ids=stem)
def test_pretraining_warms_up_follows_a_cosine_and_cools_down(path):
    # Released values for a batch of 1024; the other backbones keep their own rate.
    is_fast = path.stem.startswith(("lvvit-tiny", "lvvit-small", "lvvit-medium", "volo-d1"))
    max_lr = 8e-4 if path.stem.startswith("volo-d5") else 1.6e-3 if is_fast else 1e-3
    warmup = 20 if path.stem.startswith("volo-") else 5
    rates = learning_rates(load(path))
    assert len(rates) == 310 * EPOCH_STEPS
    assert rates[0] == pytest.approx(1e-6)
    assert at(rates, warmup / 2) == pytest.approx((1e-6 + max_lr) / 2, rel=0.02)
    assert at(rates, warmup) == pytest.approx(max_lr) == rates.max()
    assert at(rates, (300 + warmup) / 2) == pytest.approx((max_lr + 1e-5) / 2, rel=1e-3)
    three_quarters = at(rates, 300 - (300 - warmup) / 4)
    assert three_quarters == pytest.approx(1e-5 + (max_lr - 1e-5) * (1 - np.sqrt(0.5)) / 2, rel=2e-3)
    assert rates[300 * EPOCH_STEPS :] == pytest.approx(1e-5, rel=1e-3)
    assert (np.diff(rates[warmup * EPOCH_STEPS : 300 * EPOCH_STEPS]) < 0).all()


@pytest.mark.parametrize("path", PRETRAINING[:1] + FINE_TUNING[:1], ids=stem)
def test_scaling_with_the_batch_scales_the_full_curve(path):
    """Warm-up start and floor too, so that a small batch keeps the shape of the schedule."""
    config = load(path)
    assert config.auto_scale_lr.base_batch_size in (512, 1024)
    np.testing.assert_allclose(learning_rates(config, 0.25), learning_rates(config) / 4, rtol=1e-6)


@pytest.mark.parametrize("path", FINE_TUNING, ids=stem)
def test_fine_tuning_at_a_larger_size_holds_its_rate(path):
    assert learning_rates(load(path)) == pytest.approx(5e-6)
    assert load(path).optim_wrapper.optimizer.weight_decay == 1e-8


@pytest.mark.parametrize("path", VOLO_FINE_TUNING, ids=stem)
def test_fine_tuning_of_volo_follows_the_released_command(path):
    config, rates = load(path), learning_rates(load(path))
    assert rates[0] == pytest.approx(1e-6) and at(rates, 5) == pytest.approx(8e-6) == rates.max()
    assert rates[30 * EPOCH_STEPS :] == pytest.approx(4e-6, rel=1e-3) and len(rates) == 40 * EPOCH_STEPS
    assert config.optim_wrapper.optimizer.weight_decay == 1e-8 and not config.get("custom_hooks")
    assert config.model.data_preprocessor.class_target == "both"
    batch = config.auto_scale_lr.base_batch_size
    assert batch == 8 * config.train_dataloader.batch_size
    assert f"40 x {1_281_167 // batch} (1,281,167 images / {batch})" in path.read_text()


def test_volo_pretraining_has_the_released_token_loss_and_no_average():
    for path in PRETRAINING:
        if path.stem.startswith("volo-"):
            config = load(path)
            assert config.model.head.beta == 0.5 and config.model.data_preprocessor.class_target == "map"
            assert not config.custom_hooks


@pytest.mark.parametrize("path", FINE_TUNING + [path for path in CONFIGS if "-100e_" in path.stem], ids=stem)
def test_fine_tuning_averages_no_weights_unless_a_config_adds_the_hook(path, tmp_path):
    config = load(path)
    assert not config.get("custom_hooks")
    child = tmp_path / "child.py"
    child.write_text(f"_base_ = {str(path)!r}\ncustom_hooks = [dict(_base_.ema, base_steps=1000)]\n")
    (hook,) = load(child).custom_hooks
    assert HOOKS.build(hook).momentum == 8e-5


@pytest.mark.parametrize("path", [path for path in PRETRAINING if not path.stem.startswith("volo-")], ids=stem)
def test_average_has_the_released_decay_at_the_full_length_and_its_horizon_at_others(path):
    config = load(path)
    gpus, batch = (int(n) for n in path.stem.split("_")[1].split("-")[0].split("xb"))
    assert gpus * batch == config.auto_scale_lr.base_batch_size
    steps = config.train_cfg.max_epochs * (1_281_167 // (gpus * batch))
    hook = next(hook for hook in config.custom_hooks if hook.type == "mmtl.ScaledEMAHook")
    assert 1 - scaled_momentum(hook.momentum, hook.base_steps, steps) == pytest.approx(0.99992, abs=1e-9)
    # One GPU has eight times the steps, and each of them counts an eighth.
    assert scaled_momentum(hook.momentum, hook.base_steps, 8 * steps) == pytest.approx(1e-5, rel=1e-3)
    assert hook.update_buffers


@pytest.mark.parametrize("path", PRETRAINING + FINE_TUNING, ids=stem)
def test_an_incomplete_last_batch_is_dropped_as_released(path):
    config = load(path)
    images_per_rank = -(-1_281_167 // (config.auto_scale_lr.base_batch_size // config.train_dataloader.batch_size))
    steps = images_per_rank // config.train_dataloader.batch_size
    assert config.train_dataloader.drop_last
    assert steps == config.steps_per_epoch == {1024: 1251, 512: 2502}[config.auto_scale_lr.base_batch_size]
    assert f"x {steps} (1,281,167 images" in path.read_text()  # the header's arithmetic


def test_schedules_and_hooks_build(path):
    config = load(path)
    Visualizer.get_instance("recipes")  # visualization hooks ask for one
    with DefaultScope.overwrite_default_scope(config.default_scope):
        rates = learning_rates(config)
        hooks = [HOOKS.build(hook) for hook in [*config.default_hooks.values(), *config.get("custom_hooks", [])]]
    assert (rates >= 0).all() and 0 < rates.max() <= 1.000001 * config.optim_wrapper.optimizer.lr
    averages = [hook for hook in hooks if "EMA" in type(hook).__name__]
    assert all(isinstance(hook, ScaledEMAHook) for hook in averages)


def test_checkpoints_are_saved_ten_times_in_a_run_and_the_best_is_kept(path):
    config = load(path)
    hook, length = config.default_hooks.checkpoint, config.train_cfg.get("max_epochs") or config.train_cfg.max_iters
    assert hook.interval <= max(1, length // 10) and hook.max_keep_ckpts == 2
    assert hook.get("by_epoch", True) == ("max_epochs" in config.train_cfg)
    assert hook.save_best == {"mmpretrain": "accuracy/top1", "mmseg": "mIoU"}[config.default_scope]


def draw_sample(folder: Path, config: Config, image_hw: tuple[int, int]) -> dict:
    """Write an image of noise and return it with its label or mask, as the dataset returns it."""
    generator = np.random.default_rng(0)
    channels, dtype = (4, np.uint16) if "-multiband-" in config.filename else (3, np.uint8)
    cv2.imwrite(str(folder / "a.png"), generator.integers(0, 255, (*image_hw, channels), dtype))
    sample = dict(img_path=str(folder / "a.png"), gt_label=1)
    if config.default_scope == "mmseg":
        cv2.imwrite(str(folder / "mask.png"), np.tile(np.arange(image_hw[1], dtype=np.uint8) % 9, (image_hw[0], 1)))
        steps = pipeline_of(config.train_dataloader.dataset)
        zero = next(step.get("reduce_zero_label", False) for step in steps if step.type == "LoadAnnotations")
        sample.update(seg_map_path=str(folder / "mask.png"), label_map=None, reduce_zero_label=zero, seg_fields=[])
    return sample


def score_maps_of(classes: int) -> dict[str, ScoreMap]:
    """Return the map of the synthetic image."""
    ids = np.arange(4 * 4 * 5, dtype=np.uint16).reshape(4, 4, 5) % classes
    scores = np.broadcast_to(np.arange(5, 0, -1, dtype=np.float16), ids.shape)
    return {"a.png": ScoreMap(scores, ids, np.full((4, 4), 9, np.float16))}


def run_pipeline(config: Config, loader: str, folder: Path, image_hw: tuple[int, int]) -> dict:
    dataset = config[loader].dataset
    steps = [dict(step) for step in dataset.get("datasets", [dataset])[0].pipeline]
    for step in steps:
        if step["type"] == "mmtl.LoadScoreMap":
            store = score_maps_of(config.model.head.num_classes) if step["store"] else None
            step.update(store=store, image_root=str(folder))
    with DefaultScope.overwrite_default_scope(config.default_scope):
        transforms = [REGISTRIES[config.default_scope].TRANSFORMS.build(step) for step in steps]
        return Compose(transforms)(draw_sample(folder, config, image_hw))


def input_hw(config: Config) -> tuple[int, int] | None:
    """Return the input size of the recipe's model, if its config states one."""
    size = (config.model.get("data_preprocessor") or {}).get("size")  # a segmentor's crop
    size = size or config.model.get("backbone", {}).get("img_size")
    size = size or config.get("image_hw") or config.get("img_size")
    return (size, size) if isinstance(size, int) else size and tuple(size)


def test_pipelines_give_the_input_size_of_the_model(path, tmp_path):
    config = load(path)
    expected = input_hw(config)
    resizes = any("Resize" in step.type for step in pipeline_of(config.val_dataloader.dataset))
    image_hw = (300, 400) if resizes or expected is None else expected
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        packed = run_pipeline(config, loader, tmp_path, image_hw)
        assert packed["inputs"].dtype == (torch.float32 if "-multiband-" in path.stem else torch.uint8)
        if expected and config.default_scope == "mmpretrain":
            assert tuple(packed["inputs"].shape[-2:]) == expected
        elif expected and loader == "train_dataloader":  # small images are padded in the batch
            assert all(np.array(packed["inputs"].shape[-2:]) <= expected)
        label = packed.get("data_samples", packed).get("gt_label") if config.default_scope == "mmpretrain" else 1
        assert int(label) == 1


@pytest.mark.parametrize("path", WITH_SCORE_MAPS, ids=stem)
def test_every_token_of_the_model_gets_a_label(path, tmp_path):
    """The grid follows from image and patch size: no config states it, and there are as many labels as tokens."""
    config = load(path)
    assert not any(word in config.pretty_text for word in ("token_stride", "grid_hw"))
    hw = input_hw(config)
    packed = run_pipeline(config, "train_dataloader", tmp_path, hw)
    model = build_model(config)
    made = model.data_preprocessor  # on the meta device
    preprocessor = TokenLabelDataPreprocessor(made.num_classes, made.token_stride)
    targets = preprocessor.build_targets(collate_training_batch([packed]), hw)
    tokens = model.backbone.pos_embed.shape[1] - 1  # without the class token
    assert targets.patch_tokens.dense().shape[1:] == (tokens, model.head.num_classes)


def test_augmentation_in_the_workers_makes_the_same_draws_and_labels(tmp_path):
    packed = []
    for tag in ("workeraugment-", ""):
        config = load(ROOT / f"configs/lvvit/lvvit-small_8xb128-tokenlabel-{tag}300e_in1k.py")
        seeded = []
        for seed in range(8):
            random.seed(seed)
            np.random.seed(seed)
            seeded.append(run_pipeline(config, "train_dataloader", tmp_path, (60, 80)))
        packed.append(seeded)
    for in_worker, on_device in zip(*packed, strict=True):
        assert "augment" in on_device and "augment" not in in_worker
        for name in ("view_affine", "score_map_scores", "score_map_classes", "gt_label"):
            assert np.array_equal(in_worker[name], on_device[name])
    assert len({str(sample["view_affine"]) for sample in packed[0]}) == 8


def test_runner_scales_the_rate_of_a_recipe_with_its_batch(tmp_path):
    """As `mim train CONFIG --auto-scale-lr` does, on one process with a batch of 4."""
    config = load(next(path for path in PRETRAINING if "tiny" in path.stem))
    config.work_dir = str(tmp_path / "run")
    for key in ("dataloader", "cfg", "evaluator"):
        config[f"val_{key}"] = config[f"test_{key}"] = None
    (tmp_path / "images" / "n0").mkdir(parents=True)
    draw_sample(tmp_path / "images" / "n0", config, (40, 40))
    config.model.backbone.arch = dict(
        embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8, stem_channels=None, residual_divisor=1
    )
    config.model.head.in_channels = 8
    dataset = dict(type="CustomDataset", data_root=str(tmp_path / "images"))
    config.train_dataloader = dict(
        batch_size=4, dataset=dataset, sampler=dict(type="DefaultSampler", shuffle=True), num_workers=0
    )
    config.auto_scale_lr.enable = True
    runner = Runner.from_cfg(config)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    runner.build_param_scheduler(runner.param_schedulers)
    groups = runner.optim_wrapper.optimizer.param_groups
    assert [group["initial_lr"] for group in groups] == pytest.approx([1.6e-3 * 4 / 1024] * len(groups))
    assert [group["lr"] for group in groups] == pytest.approx([1e-6 * 4 / 1024] * len(groups))
