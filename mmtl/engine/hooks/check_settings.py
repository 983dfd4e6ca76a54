"""Name settings that contradict each other before the first step rather than hours later."""

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner, ValLoop
from mmengine.runner.amp import autocast
from mmpretrain.evaluation import Accuracy
from torch.utils.data import DataLoader

from mmtl.engine.hooks.check_annotations import CheckAnnotationsHook
from mmtl.registry import HOOKS
from mmtl.utils.config_file import leaf_dataset_cfgs
from mmtl.utils.config_variables import as_pair
from mmtl.utils.model_parts import head_of


@HOOKS.register_module()
class CheckSettingsHook(Hook):
    """Refuse settings that cannot work together, and warn about those that are suspicious, before the first step.

    Refused: an endless sampler in a loop by epochs or in a validation, sliding windows without size or stride, metrics
    and keys that the first validation would fail on, found by evaluating one image of the validation set. Warnings:
    schedules that do not fit the length of the run, a learning rate for another batch, different crop sizes,
    validation images that are left out, checkpoints that are saved only at the end, early stopping without validation.

    Workers of data loaders are kept between epochs if ``persistent_workers`` is not set: set in a recipe, it would
    make ``num_workers=0`` an error.

    With both ``auto_scale_lr`` and ``accumulative_counts``, the rate is scaled to the images of an optimizer step.
    """

    def before_run(self, runner: Runner) -> None:
        """Scale the learning rate to the accumulated batch; mmengine scales it to the batch of an iteration."""
        if not isinstance(runner._train_loop, BaseLoop):  # a test
            return
        if isinstance(runner.param_schedulers, list):
            check_cycles(runner.param_schedulers, runner)
        wrapper, scaling = runner.optim_wrapper, runner.auto_scale_lr or {}
        count = getattr(wrapper, "_accumulative_counts", 1)
        if not scaling.get("enable") or count == 1:
            return
        for group in wrapper.optimizer.param_groups:
            group["lr"] = count * group.pop("initial_lr", group["lr"])
        if runner.param_schedulers:
            runner.param_schedulers = runner.build_param_scheduler(runner.cfg.param_scheduler)
        runner.logger.info(f"The learning rate is multiplied by accumulative_counts={count}.")

    def before_train(self, runner: Runner) -> None:
        """Check the settings of a training run."""
        check_windows(runner.cfg)
        keep_workers(runner.train_dataloader, runner.cfg.get("train_dataloader"))
        loader, by_epoch = runner.train_dataloader, isinstance(runner.train_loop, EpochBasedTrainLoop)
        if not len(loader):
            raise ValueError(
                f"The training set must fill a batch of {loader.batch_size} with drop_last=True, got "
                f"{len(loader.dataset)} images. Lower train_dataloader.batch_size, or set drop_last=False."
            )
        if by_epoch:
            check_sampler(loader, "train_dataloader", "train_cfg.type=EpochBasedTrainLoop")
        schedulers = runner.param_schedulers or []
        found = schedule_warnings(schedulers if isinstance(schedulers, list) else [], by_epoch, runner)
        if isinstance(runner.optim_wrapper, OptimWrapper) and not isinstance(runner.optim_wrapper, OptimWrapperDict):
            images = (loader.batch_size or 0) * runner.world_size
            found += rate_warnings(runner.auto_scale_lr, images, runner.optim_wrapper._accumulative_counts)
        found += crop_warnings(crop_sizes(runner.cfg))
        found += saving_warnings(runner, by_epoch) + stopping_warnings(runner, by_epoch)
        if isinstance(runner.val_loop, ValLoop):
            found += self._check_validation(runner)
        for text in found:
            runner.logger.warning(text)

    def before_test(self, runner: Runner) -> None:
        """Check the settings of a test."""
        check_windows(runner.cfg)
        check_sampler(runner.test_dataloader, "test_dataloader", "a test")
        check_topk(runner.test_evaluator.metrics, getattr(head_of(runner.model), "num_classes", None))

    def _check_validation(self, runner: Runner) -> list[str]:
        """Raise the errors of the first validation, from one image, and return warnings."""
        keep_workers(runner.val_dataloader, runner.cfg.get("val_dataloader"))
        check_sampler(runner.val_dataloader, "val_dataloader", "a validation")
        check_topk(runner.val_evaluator.metrics, getattr(head_of(runner.model), "num_classes", None))
        found = evaluate_first_image(runner)
        if found is not None:
            check_monitored(runner, found)
        if runner.val_dataloader.drop_last and len(runner.val_dataloader.dataset) % runner.val_dataloader.batch_size:
            return ["val_dataloader.drop_last=True leaves images out of the validation. Set it to False."]
        return []


def keep_workers(loader: DataLoader, cfg: dict | None) -> None:
    """Keep the workers of a data loader between epochs unless its config sets ``persistent_workers``."""
    if cfg is not None and "persistent_workers" not in cfg and loader.num_workers:
        loader.__dict__["persistent_workers"] = True  # a DataLoader refuses the assignment, but reads it at each epoch


def check_sampler(loader: DataLoader, name: str, loop: str) -> None:
    """Raise an error if a loop that ends with its data loader has one that never ends."""
    if isinstance(loader.sampler, InfiniteSampler):
        raise ValueError(
            f"{name}.sampler must end for {loop}, got InfiniteSampler, which would make the first epoch endless. Set "
            f"{name}.sampler.type=DefaultSampler" + (", or train by iterations." if name[:5] == "train" else ".")
        )


def check_cycles(schedulers: Sequence[_ParamScheduler], runner: Runner) -> None:
    """Raise an error if a schedule with a number of steps ends before training, which it would stop."""
    for index, scheduler in enumerate(schedulers):
        length = runner.max_epochs if scheduler.by_epoch else runner.max_iters
        steps = min(scheduler.end, length) - scheduler.begin
        if getattr(scheduler, "total_steps", steps) < steps:
            raise ValueError(
                f"param_scheduler.{index} ({type(scheduler).__name__}).total_steps must be at least {steps}, the "
                f"length of training, got {scheduler.total_steps}. Set it with train_cfg, or end to the same value."
            )


def schedule_warnings(schedulers: Sequence[_ParamScheduler], by_epoch: bool, runner: Runner) -> list[str]:
    """Return what does not fit between the ends of schedules and the length of a run."""
    found, ends, reached = [], [], 0.0
    for index, scheduler in enumerate(schedulers):
        length = runner.max_epochs if scheduler.by_epoch else runner.max_iters
        unit = "epoch" if scheduler.by_epoch else "iteration"
        name = f"param_scheduler.{index} ({type(scheduler).__name__})"
        end = last_step(scheduler)
        if scheduler.by_epoch and not by_epoch:
            found.append(f"{name} counts epochs in a run by iterations, so it never changes. Set by_epoch=False.")
        elif end is not None and end > length:
            found.append(
                f"{name} ends at {unit} {end}, but training at {length}: it does not reach its end. Set its end with "
                "the length in train_cfg."
            )
        elif end is not None:
            reached = max(reached, end / length)
            if not is_constant_after(scheduler):
                ends.append((end / length, f"{name} ends at {unit} {end} of {length}"))
    if ends and not found and reached < 0.9:
        found.append(f"{max(ends)[1]}: the learning rate stays at its last value. Set its end with the length.")
    return found


def last_step(scheduler: _ParamScheduler) -> int | None:
    """Return the step after which a schedule is at its last value, None if it has no end."""
    if getattr(scheduler, "milestones", None):
        return max(scheduler.milestones)
    period = getattr(scheduler, "T_max", getattr(scheduler, "total_steps", 0))
    end = max(scheduler.end, scheduler.begin + period)  # the Runner sets a missing end
    return end if end < INF else None


def is_constant_after(scheduler: _ParamScheduler) -> bool:
    """Return whether a schedule is meant to end before training: a warm-up, or a decay in steps."""
    is_step = any(hasattr(scheduler, name) for name in ("factor", "milestones"))
    return is_step or getattr(scheduler, "end_factor", 0) >= getattr(scheduler, "start_factor", 1)


def rate_warnings(scaling: dict[str, Any] | None, images: int, count: int) -> list[str]:
    """Return a warning if the learning rate belongs to another number of images per optimizer step."""
    base = (scaling or {}).get("base_batch_size")
    if not base or not images or scaling.get("enable") or images * count == base:
        return []
    accumulate = f", or accumulate with optim_wrapper.accumulative_counts={base // images}" if base > images else ""
    return [
        f"The learning rate is for {base} images per step (auto_scale_lr.base_batch_size), and this run has "
        f"{images * count}. Scale it with --auto-scale-lr or --cfg-options auto_scale_lr.enable=True{accumulate}."
    ]


def crop_sizes(cfg: Config) -> dict[str, tuple[int, int]]:
    """Return the crop sizes (H, W) of a segmentor by setting, those that are set.

    A position embedding that is smaller than the crop is left out: it is enlarged, like that of a pretraining.
    """
    model, loader = cfg.get("model") or {}, cfg.get("train_dataloader") or {}
    if "decode_head" not in model:
        return {}
    test_cfg = model.get("test_cfg") or {}
    sizes = {
        "model.data_preprocessor.size": (model.get("data_preprocessor") or {}).get("size"),
        "model.test_cfg.crop_size": test_cfg.get("crop_size") if test_cfg.get("mode") == "slide" else None,
    }
    for index, dataset in enumerate(leaf_dataset_cfgs(loader.get("dataset") or {})):
        for step in dataset.get("pipeline") or ():
            if "crop_size" in step:
                sizes[f"crop of the training pipeline{f' {index}' * bool(index)}"] = step["crop_size"]
    pairs = {name: as_pair(size) for name, size in sizes.items() if as_pair(size)}
    embedding = as_pair((model.get("backbone") or {}).get("img_size"))
    if embedding and any(side > size for pair in pairs.values() for side, size in zip(embedding, pair, strict=True)):
        pairs["model.backbone.img_size"] = embedding
    return pairs


def crop_warnings(sizes: dict[str, tuple[int, int]]) -> list[str]:
    """Return a warning if crop sizes differ."""
    if len(set(sizes.values())) < 2:
        return []
    listed = ", ".join(f"{name} {size[0]} x {size[1]}" for name, size in sizes.items())
    return [
        f"Crop sizes differ: {listed}. A crop below model.data_preprocessor.size trains on padding. Set all of them."
    ]


def saving_warnings(runner: Runner, by_epoch: bool) -> list[str]:
    """Return a warning if a run saves no checkpoint before its end."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    if not hooks:
        return []
    length = (runner.max_epochs if by_epoch else 0) if hooks[0].by_epoch else runner.max_iters
    if 0 < hooks[0].interval < length:
        return []
    unit = "epochs" if hooks[0].by_epoch else "iterations"
    return [
        f"No checkpoint is saved before the end of training: default_hooks.checkpoint.interval={hooks[0].interval} "
        f"{unit}, of {length}. Set interval and by_epoch to save more often."
    ]


def stopping_warnings(runner: Runner, by_epoch: bool) -> list[str]:
    """Return a warning if a run has no validation after which early stopping could stop it."""
    if not any(isinstance(hook, EarlyStoppingHook) for hook in runner.hooks):
        return []
    if runner.val_loop is None:
        return [
            "EarlyStoppingHook never stops this run, which has no validation. Set val_dataloader, val_cfg and "
            "val_evaluator, or remove the hook."
        ]
    loop, length = runner.train_loop, runner.max_epochs if by_epoch else runner.max_iters
    interval = min(getattr(loop, "dynamic_intervals", None) or [getattr(loop, "val_interval", 1)])
    first = -(-max(getattr(loop, "val_begin", 1), 1) // interval) * interval
    if first < length:
        return []
    unit = "epoch" if by_epoch else "iteration"
    return [
        f"EarlyStoppingHook never stops this run, which is not validated before its end, {unit} {length}. Lower "
        "val_interval or val_begin of train_cfg, or remove the hook."
    ]


def check_windows(cfg: Config) -> None:
    """Raise an error if a segmentor is tested by sliding windows without their size or stride."""
    test_cfg = (cfg.get("model") or {}).get("test_cfg") or {}
    for name, what in (("crop_size", "size"), ("stride", "distance")) if test_cfg.get("mode") == "slide" else ():
        if isinstance(value := test_cfg.get(name), int) or as_pair(value) is None:
            raise ValueError(
                f"model.test_cfg.{name} must be the {what} of the sliding windows in pixels (H, W), got {value!r}. "
                "Set it, or model.test_cfg.mode='whole'."
            )


def check_topk(metrics: Sequence, num_classes: int | None) -> None:
    """Raise an error if an accuracy counts more classes than there are."""
    for metric in metrics:
        if isinstance(metric, Accuracy) and num_classes and max(metric.topk) > num_classes:
            raise ValueError(
                f"topk of {type(metric).__name__} must be at most {num_classes}, the number of classes of the head, "
                f"got {tuple(metric.topk)}. Set val_evaluator.topk=(1,), and that of test_evaluator."
            )


def evaluate_first_image(runner: Runner) -> dict[str, Any] | None:
    """Return the metrics of one image of the validation set, None if they cannot be computed from one image.

    What fails here would fail in the first validation.
    """
    loop, loader, metrics = runner.val_loop, runner.val_dataloader, runner.val_evaluator.metrics
    training = runner.model.training
    checks = [hook for hook in runner.hooks if isinstance(hook, CheckAnnotationsHook)]  # name the file
    with same_generators(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of means over classes that one image lacks
        try:
            for hook in checks:
                hook.before_val_epoch(runner)
            batch = loader.collate_fn([loader.dataset[0]])
            for hook in checks:
                hook.before_val_iter(runner, 0, batch)
            runner.model.eval()
            with autocast(enabled=getattr(loop, "fp16", False)):
                outputs = runner.model.val_step(batch)
            runner.val_evaluator.process(data_samples=outputs, data_batch=batch)
        except Exception:
            runner.logger.error("The first validation would fail, checked with its first image before training:")
            raise
        finally:
            runner.model.train(training)
        runner.logger.disabled = True  # IoUMetric logs a table; MMEngine's loggers ignore logging.disable()
        try:
            return runner.val_evaluator.evaluate(runner.world_size)
        except Exception as error:  # of a metric that needs more than one image, unless it is about the settings
            if isinstance(error, KeyError) or "same metric name" in str(error):
                raise ValueError(f"val_evaluator must work in the first validation, got: {error.args[0]}.") from None
            return None
        finally:
            runner.logger.disabled = False
            for metric in metrics:
                metric.results.clear()


@contextmanager
def same_generators() -> Iterator[None]:
    """Restore the states of the random generators."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])


def check_monitored(runner: Runner, metrics: dict[str, Any]) -> None:
    """Raise an error if a hook monitors a metric that validations do not give."""
    monitored = {}
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            best = hook.save_best
            monitored |= {
                key: "default_hooks.checkpoint.save_best" for key in ([best] if isinstance(best, str) else best)
            }
        elif isinstance(hook, EarlyStoppingHook):
            monitored[hook.monitor] = "monitor of EarlyStoppingHook"
    for key, name in monitored.items():
        if key != "auto" and key not in metrics:
            raise ValueError(f"{name} must be one of {', '.join(metrics)}, the metrics of a validation, got {key!r}.")
