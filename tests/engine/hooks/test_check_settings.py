"""Settings that contradict each other are named before the first step; what plain OpenMMLab runs still runs."""

import re
from types import SimpleNamespace

import pytest
import torch
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT
from helpers.tiny_runs import Images, log_of, tiny_runner
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmtl.engine.hooks.check_settings import (
    CheckSettingsHook,
    check_windows,
    crop_sizes,
    crop_warnings,
    rate_warnings,
    saving_warnings,
    schedule_warnings,
    stopping_warnings,
)

HOOK = dict(check_settings=dict(type="mmtl.CheckSettingsHook"))
INFINITE = dict(sampler=dict(type="InfiniteSampler", shuffle=False))
POLY = dict(type="PolyLR", by_epoch=False, begin=0)
BY_ITERATIONS = dict(by_epoch=False, max_iters=30)


class Top1(BaseMetric):
    """A metric that is always 50 %."""

    default_prefix = "accuracy"

    def process(self, data_batch, data_samples) -> None:
        self.results.append(1)

    def compute_metrics(self, results) -> dict:
        return dict(top1=50.0)


def trained(work_dir, hooks=None, **arguments):
    """Train with the hook, and return what the run recorded and its log."""
    runner, recorder = tiny_runner(work_dir, hooks=HOOK | (hooks or {}), **arguments)
    runner.train()
    return recorder, log_of(work_dir)


def validation(loader=None, hooks=None):
    """Return arguments of a run with a validation."""
    val = dict(batch_size=5, dataset=Images(12), sampler=dict(type="DefaultSampler", shuffle=False))
    val.update(loader or {}, collate_fn=pseudo_collate)
    return dict(val_dataloader=val, val_cfg=dict(), val_evaluator=[Top1()], hooks=hooks)


def test_a_good_run_has_no_warning(tmp_path):
    save = dict(checkpoint=dict(type="mmtl.CheckpointHook", interval=1, save_best="accuracy/top1"))
    schedule = [
        dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=3),
        dict(POLY, end=30),
        dict(type="MultiStepLR", by_epoch=True, milestones=[2, 4]),
    ]
    arguments = dict(param_scheduler=schedule, auto_scale_lr=dict(base_batch_size=2))
    runner, _ = tiny_runner(tmp_path / "plain", **validation(hooks=save), **arguments)
    runner.train()
    _, log = trained(tmp_path / "checked", **validation(hooks=save), **arguments)
    assert {*re.findall("WARNING.*", log)} <= {*re.findall("WARNING.*", log_of(tmp_path / "plain"))}


def test_an_endless_sampler_in_a_loop_by_epochs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="train_dataloader.sampler must end .*Epoch.* got InfiniteSampler"):
        trained(tmp_path / "train", loader=INFINITE)
    with pytest.raises(ValueError, match="val_dataloader.sampler must end .* got InfiniteSampler"):
        trained(tmp_path / "val", **validation(INFINITE))


def test_epochs_without_an_iteration_are_refused(tmp_path):
    with pytest.raises(ValueError, match="fill a batch of 16 with drop_last=True, got 12 images"):
        trained(tmp_path, batch_size=16, loader=dict(drop_last=True))


def test_a_loop_by_epochs_with_a_sampler_that_ends_and_iterations_with_either_run(tmp_path):
    assert len(trained(tmp_path / "epochs")[0].iterations) == 30
    assert len(trained(tmp_path / "endless", loader=INFINITE, train_cfg=BY_ITERATIONS)[0].iterations) == 30


@pytest.mark.parametrize(
    ("schedule", "train_cfg", "message"),
    [
        ([dict(POLY, end=60)], BY_ITERATIONS, "PolyLR.* ends at iteration 60, but training at 30"),
        ([dict(POLY, end=15)], BY_ITERATIONS, "PolyLR.* ends at iteration 15 of 30: the learning rate stays"),
        ([dict(POLY, by_epoch=True, end=30)], BY_ITERATIONS, "counts epochs in a run by iterations"),
        ([dict(type="MultiStepLR", milestones=[3, 8])], dict(by_epoch=True, max_epochs=5), "ends at epoch 8"),
        ([dict(type="CosineAnnealingLR", T_max=10)], dict(by_epoch=True, max_epochs=5), "ends at epoch 10"),
        ([dict(type="LinearLR", end=10)], dict(by_epoch=True, max_epochs=5), "LinearLR.* ends at epoch 10"),
        ([dict(type="LinearLR", end=1)], dict(by_epoch=True, max_epochs=5), None),
        ([dict(type="StepLR", step_size=2)], dict(by_epoch=True, max_epochs=5), None),
        ([dict(type="MultiStepLR", milestones=[1, 2])], dict(by_epoch=True, max_epochs=5), None),
        ([dict(type="CosineAnnealingLR", T_max=2)], dict(by_epoch=True, max_epochs=5), None),
        ([dict(type="OneCycleLR", eta_max=0.1, total_steps=30, by_epoch=False)], BY_ITERATIONS, None),
    ],
)
def test_a_schedule_that_does_not_fit_the_length_of_the_run_is_warned_about(tmp_path, schedule, train_cfg, message):
    loader = INFINITE if train_cfg is BY_ITERATIONS else {}
    _, log = trained(tmp_path, param_scheduler=schedule, train_cfg=train_cfg, loader=loader)
    assert ("param_scheduler.0" in log) == (message is not None)
    assert re.search(message or "", log)


def test_a_cycle_that_would_end_training_is_refused(tmp_path):
    cycle = dict(type="OneCycleLR", eta_max=0.1, by_epoch=False)
    arguments = dict(train_cfg=BY_ITERATIONS, loader=INFINITE)
    with pytest.raises(ValueError, match=r"OneCycleLR\).total_steps must be at least 30, .* got 20"):
        trained(tmp_path / "short", param_scheduler=[dict(cycle, total_steps=20)], **arguments)
    _, log = trained(tmp_path / "ended", param_scheduler=[dict(cycle, total_steps=20, end=20)], **arguments)
    assert "ends at iteration 20 of 30" in log
    _, log = trained(tmp_path / "long", param_scheduler=[dict(cycle, total_steps=40)], **arguments)
    assert "ends at iteration 40, but training at 30" in log


def test_a_learning_rate_of_another_batch_is_warned_about_with_both_remedies(tmp_path):
    scaling = dict(base_batch_size=16, enable=False)
    recorder, log = trained(tmp_path / "plain", auto_scale_lr=scaling)
    assert "for 16 images per step" in log and "this run has 2" in log and recorder.rates[0] == 0.01
    assert "--auto-scale-lr" in log and "accumulative_counts=8" in log
    wrapper = dict(optimizer=dict(type="SGD", lr=0.01), accumulative_counts=8)
    _, log = trained(tmp_path / "accumulated", auto_scale_lr=scaling, optim_wrapper=wrapper)
    assert "images per step" not in log


@pytest.mark.parametrize(("count", "rate"), [(1, 0.01 / 8), (2, 0.01 / 4), (8, 0.01)])
@pytest.mark.parametrize("schedule", [None, dict(type="ConstantLR", factor=0.5, by_epoch=True, end=5)])
def test_scaled_rates_and_accumulation_agree(tmp_path, count, rate, schedule):
    wrapper = dict(optimizer=dict(type="SGD", lr=0.01), accumulative_counts=count)
    arguments = dict(optim_wrapper=wrapper, auto_scale_lr=dict(base_batch_size=16, enable=True))
    if schedule:
        arguments.update(param_scheduler=[schedule], cfg=dict(param_scheduler=[schedule]))
    recorder, log = trained(tmp_path, **arguments)
    assert recorder.rates[0] == pytest.approx(rate * (0.5 if schedule else 1)) and "images per step" not in log


def test_metrics_that_the_first_validation_lacks_are_refused_at_the_start(tmp_path):
    best = dict(checkpoint=dict(type="mmtl.CheckpointHook", interval=1, save_best="top1", rule="greater"))
    with pytest.raises(ValueError, match="save_best must be one of accuracy/top1.* got 'top1'"):
        trained(tmp_path / "best", **validation(hooks=best))
    stop = dict(type="EarlyStoppingHook", monitor="accuracy/top5")
    with pytest.raises(ValueError, match="EarlyStoppingHook must be one of accuracy/top1.* got 'accuracy/top5'"):
        trained(tmp_path / "stop", **validation(), custom_hooks=[stop])
    stop["monitor"] = "accuracy/top1"
    recorder, _ = trained(tmp_path / "early", **validation(), custom_hooks=[dict(stop, patience=1)])
    assert len(recorder.iterations) == 12  # accuracy does not improve in the second epoch


def test_two_metrics_with_one_name_are_refused_at_the_start(tmp_path):
    """Guards: the first validation ended with MMEngine's ValueError, after a training epoch."""
    with pytest.raises(ValueError, match="val_evaluator must work in the first validation, got: .*same metric name"):
        trained(tmp_path, **(validation() | dict(val_evaluator=[Top1(), Top1()])))
    assert "Epoch(train)" not in log_of(tmp_path)


def test_more_top_classes_than_the_head_has_are_refused(tmp_path):
    arguments = dict(validation(), hooks=HOOK, val_evaluator=[dict(type="mmpretrain.Accuracy", topk=(1, 2))])
    runner, recorder = tiny_runner(tmp_path, **arguments)
    runner.model.head = torch.nn.Module()
    runner.model.head.num_classes = 1
    with pytest.raises(ValueError, match=r"topk of Accuracy must be at most 1, .* got \(1, 2\)"):
        runner.train()


def test_validation_images_that_are_left_out_are_warned_about(tmp_path):
    assert "leaves images out" in trained(tmp_path / "a", **validation(dict(drop_last=True)))[1]
    assert "leaves images out" not in trained(tmp_path / "b", **validation(dict(drop_last=True, batch_size=4)))[1]


@pytest.mark.parametrize(("by_epoch", "interval"), [(True, 1), (False, 30), (False, -1)])
def test_a_run_that_saves_only_at_its_end_is_warned_about(tmp_path, by_epoch, interval):
    save = dict(checkpoint=dict(type="mmtl.CheckpointHook", by_epoch=by_epoch, interval=interval))
    assert (
        "No checkpoint is saved before" in trained(tmp_path, hooks=save, train_cfg=BY_ITERATIONS, loader=INFINITE)[1]
    )


def test_the_check_of_the_validation_leaves_the_training_as_it_is(tmp_path):
    plain, _ = tiny_runner(tmp_path / "plain")
    plain.train()
    checked, _ = tiny_runner(tmp_path / "checked", **dict(validation(), hooks=HOOK))
    checked.train()
    assert torch.equal(plain.model.fc.weight, checked.model.fc.weight)


@pytest.fixture
def segmentation(tmp_path):
    """Return the config of a small segmentor with the runtime of the recipes."""
    tiny.write_data(tmp_path)
    cfg = Config.fromfile(tiny.write_config(tmp_path))
    cfg.work_dir, cfg.experiment_name = str(tmp_path / "run"), f"settings_{tmp_path.name}"
    cfg.default_hooks = Config.fromfile(ROOT / "configs/_base_/segment_runtime.py").default_hooks
    cfg.default_hooks.visualization.draw = False
    cfg.visualizer.name = cfg.experiment_name
    return cfg


CROPS = {
    "pipeline": lambda cfg: cfg.train_dataloader.dataset.pipeline[2].update(crop_size=(16, 16)),
    "preprocessor": lambda cfg: cfg.model.data_preprocessor.update(size=(64, 64)),
    "position embedding": lambda cfg: cfg.model.backbone.update(img_size=64),
    "window": lambda cfg: cfg.model.test_cfg.update(crop_size=(24, 24), stride=(16, 16)),
}


@pytest.mark.parametrize("change", CROPS.values(), ids=CROPS)
def test_a_crop_that_is_changed_in_one_of_several_settings_is_warned_about(segmentation, tmp_path, change):
    change(segmentation)
    Runner.from_cfg(segmentation).train()
    assert "Crop sizes differ: " in log_of(tmp_path / "run")


def test_crops_that_agree_and_other_wrappers_of_datasets_are_not_warned_about(segmentation, tmp_path):
    segmentation.crop_size = (32, 32)
    plain = segmentation.train_dataloader.dataset
    segmentation.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=plain)
    Runner.from_cfg(segmentation).train()
    assert "Crop sizes differ" not in log_of(tmp_path / "run")


@pytest.mark.parametrize(("name", "value"), [("data_root", "."), ("data_root", "/missing"), ("crop_size", (16, 16))])
def test_a_variable_that_the_plain_runner_does_not_apply_is_one_warning(segmentation, tmp_path, name, value):
    segmentation[name] = value
    Runner.from_cfg(segmentation).train()
    lines = [line for line in log_of(tmp_path / "run").splitlines() if "WARNING" in line and name in line]
    assert len(lines) == 1 and f"{name}={value!r} changes nothing" in lines[0] and "mmtl.Runner" in lines[0]


def test_a_position_embedding_that_is_enlarged_for_the_crop_is_not_warned_about(segmentation, tmp_path):
    segmentation.model.backbone.img_size = 16
    Runner.from_cfg(segmentation).train()
    assert "Crop sizes differ" not in log_of(tmp_path / "run")


@pytest.mark.parametrize("fault", ["pipeline", "model"])
def test_what_fails_in_the_first_validation_fails_at_the_start(segmentation, tmp_path, fault):
    if fault == "pipeline":
        (tmp_path / "annotations/val/0.png").unlink()
    else:
        segmentation.model.test_cfg.update(crop_size=(32, 32), stride=(0, 0))
    with pytest.raises((FileNotFoundError, ValueError, ZeroDivisionError)):
        Runner.from_cfg(segmentation).train()
    log = log_of(tmp_path / "run")
    assert "The first validation would fail" in log and "Iter(train)" not in log


@pytest.mark.parametrize(("name", "value"), [("stride", None), ("stride", 16), ("crop_size", None)])
def test_sliding_windows_without_size_or_stride_are_refused_by_name(name, value):
    """Guards: 'ConfigDict' object has no attribute 'stride'."""
    windows = dict(mode="slide", crop_size=(32, 32), stride=[16, 16])
    hook = CheckSettingsHook()
    for check in (hook.before_train, hook.before_test):
        with pytest.raises(ValueError, match=rf"model.test_cfg.{name} must be .*\(H, W\), got {value}. Set it"):
            check(SimpleNamespace(cfg=Config(dict(model=dict(test_cfg=windows | {name: value})))))
    for test_cfg in (windows, dict(mode="whole")):
        check_windows(Config(dict(model=dict(test_cfg=test_cfg))))


STOP = dict(stop=dict(type="EarlyStoppingHook", monitor="accuracy/top1"))


def test_early_stopping_without_a_validation_is_warned_about(tmp_path):
    assert "EarlyStoppingHook never stops this run, which has no validation" in trained(tmp_path, hooks=STOP)[1]


@pytest.mark.parametrize(
    ("loop", "message"),
    [
        (dict(by_epoch=True, max_epochs=5, val_interval=5), "before its end, epoch 5"),
        (dict(BY_ITERATIONS, val_begin=30, val_interval=7), "before its end, iteration 30"),
        (dict(by_epoch=True, max_epochs=5, val_begin=3, val_interval=2), None),
    ],
)
def test_early_stopping_without_a_validation_before_the_end_is_warned_about(tmp_path, loop, message):
    runner, _ = tiny_runner(tmp_path, **validation(hooks=STOP) | dict(train_cfg=loop))
    found = stopping_warnings(runner, loop["by_epoch"])
    assert message in found[0] if message else not found


def test_a_metric_that_does_not_exist_is_refused_at_the_start(segmentation, tmp_path):
    """Guards: the first validation ended with a KeyError."""
    segmentation.val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU", "mFoo"])
    with pytest.raises(ValueError, match="val_evaluator must work in the first validation, got: .*mFoo"):
        Runner.from_cfg(segmentation).train()
    assert "Iter(train)" not in log_of(tmp_path / "run")


def test_class_weights_of_another_number_of_classes_are_refused(segmentation):
    """Guards: the loss ended with torch's "weight tensor should be defined either for all or no classes"."""
    segmentation.model.decode_head.loss_decode = dict(type="CrossEntropyLoss", class_weight=[1.0] * 7)
    with pytest.raises(ValueError, match=r"decode_head.loss_decode \(CrossEntropyLoss\).class_weight .* got 7"):
        Runner.from_cfg(segmentation).train()


@pytest.mark.parametrize(("workers", "chosen", "kept"), [(0, None, False), (1, None, True), (1, False, False)])
def test_any_number_of_workers_trains_and_workers_are_kept_unless_chosen(segmentation, workers, chosen, kept):
    recipe = Config.fromfile(ROOT / "configs/lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py")
    for name in ("train_dataloader", "val_dataloader"):
        loader = {key: value for key, value in recipe[name].items() if key not in ("batch_size", "dataset", "sampler")}
        segmentation[name].update(
            loader, num_workers=workers, **({} if chosen is None else dict(persistent_workers=chosen))
        )
    runner = Runner.from_cfg(segmentation)
    runner.train()
    assert runner.iter == 2
    assert all(loader.persistent_workers == kept for loader in (runner.train_dataloader, runner.val_dataloader))


def test_every_recipe_runs_without_workers():
    paths = [path for path in (ROOT / "configs").rglob("*.py") if "_base_" not in path.parts]
    for cfg in map(Config.fromfile, paths):
        assert not any(cfg[f"{name}_dataloader"].get("persistent_workers") for name in ("train", "val", "test"))


def test_no_recipe_as_it_is_has_a_warning(tmp_path):
    for path in (path for path in (ROOT / "configs").rglob("*.py") if "_base_" not in path.parts):
        cfg = Config.fromfile(path)
        gpus, images = map(int, re.search(r"_(\d+)xb(\d+)", path.stem).groups())
        found = crop_warnings(crop_sizes(cfg)) + rate_warnings(cfg.get("auto_scale_lr"), gpus * images, 1)
        plain = cfg.to_dict()
        hooks = dict(checkpoint=plain["default_hooks"]["checkpoint"])
        runner, _ = tiny_runner(tmp_path / path.stem, train_cfg=plain["train_cfg"], hooks=hooks)
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        schedulers = runner.build_param_scheduler(plain["param_scheduler"])
        found += schedule_warnings(schedulers, by_epoch, runner) + saving_warnings(runner, by_epoch)
        assert not found, path.name


def test_the_crop_sizes_of_every_recipe_follow_from_one():
    for path in (ROOT / "configs/lvvit").glob("*_upernet_8xb2-*[!d].py"):
        cfg = Config.fromfile(path)
        pipelines = [
            part.pipeline for part in cfg.train_dataloader.dataset.get("datasets", [cfg.train_dataloader.dataset])
        ]
        crops = {tuple(step.crop_size) for pipeline in pipelines for step in pipeline if "crop_size" in step}
        model = cfg.model
        sizes = [cfg.crop_size, model.data_preprocessor.size, model.test_cfg.crop_size]
        if "released" not in path.name:  # whose position embedding has another size
            sizes.append(model.backbone.img_size)
        assert crops == set(map(tuple, sizes)), path.name


def mosaic(cfg):
    inner, crop = cfg.train_dataloader.dataset, dict(type="RandomCrop", crop_size=(32, 32))
    inner.pipeline = inner.pipeline[:2]
    steps = [dict(type="RandomMosaic", prob=1.0, img_scale=(40, 56)), crop, dict(type="PackSegInputs")]
    cfg.train_dataloader.dataset = dict(type="MultiImageMixDataset", dataset=inner, pipeline=steps)


def repeated(cfg):
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=3, dataset=cfg.train_dataloader.dataset)


def by_epochs(cfg):
    cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=2)
    cfg.train_dataloader.sampler = dict(type="DefaultSampler", shuffle=True)
    cfg.default_hooks.checkpoint = dict(type="mmtl.CheckpointHook", interval=1)


def sliced(cfg):
    by_epochs(cfg)
    cfg.train_dataloader.num_batch_per_epoch = 1


@pytest.mark.parametrize("change", [mosaic, repeated, by_epochs, sliced])
@pytest.mark.parametrize("resume", [False, True])
def test_what_plain_mmsegmentation_trains_trains_and_resumes_with_the_hooks(segmentation, tmp_path, change, resume):
    change(segmentation)
    runner = Runner.from_cfg(segmentation)
    runner.train()
    if resume:
        segmentation.resume, segmentation.experiment_name = True, f"{segmentation.experiment_name}_resumed"
        segmentation.train_dataloader.batch_size = 1
        runner = Runner.from_cfg(segmentation)
        runner.train()
    assert runner.iter == runner.max_iters and list((tmp_path / "run").glob("*.pth"))
