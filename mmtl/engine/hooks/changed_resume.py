"""Resume a run whose batch, dataset, length or learning rate differs from that of the checkpoint."""

import logging
import reprlib
import warnings
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmtl.utils.text import in_line

PROGRESS = {"last_step", "_global_step", "_last_value", "verbose"}  # of a scheduler's state; the rest are settings


def loop_record(runner: Runner) -> dict[str, Any]:
    """Return what a checkpoint has to record about the training loop besides its numbers of epochs and iterations."""
    loop = runner.train_loop
    return dict(
        by_epoch=isinstance(loop, EpochBasedTrainLoop),
        images_per_iter=(loop.dataloader.batch_size or 0) * runner.world_size,  # 0: of a batch sampler, not known
        images=len(loop.dataloader.dataset),
    )


def moved_iteration(epoch: int, iteration: int, old_length: float, new_length: int) -> int:
    """Return the iteration at the same share of the same epoch after the number of iterations per epoch changed.

    The share is rounded down, so no image is left out; positions outside the epoch are moved to its beginning.
    """
    share = (iteration - epoch * old_length) / old_length
    return epoch * new_length + (int(share * new_length + 1e-6) if 0 <= share <= 1 else 0)


def adapt_to_changes(runner: Runner, checkpoint: dict) -> None:
    """Change the position, the schedule and the rates of a checkpoint to those of the run that resumes from it."""
    info = checkpoint.get("message_hub", {}).get("runtime_info", {})
    if move_position(runner, checkpoint["meta"], info):
        checkpoint.pop("accumulated_gradients", None)  # of another position within the accumulation
    meta, loop, old_iters = checkpoint["meta"], runner.train_loop, info.get("max_iters")
    if old_iters not in (None, loop.max_iters):
        print_log(f"The checkpoint is of a run of {old_iters} iterations, this one has {loop.max_iters}.", "current")
    renew_schedule(runner, checkpoint)
    if meta["iter"] >= loop.max_iters:
        print_log(
            f"Nothing to train: the checkpoint is at iteration {meta['iter']} of {loop.max_iters}. Raise max_epochs "
            "or max_iters of train_cfg, and the end of param_scheduler with it, to train longer.",
            logger="current",
            level=logging.WARNING,
        )


def move_position(runner: Runner, meta: dict[str, Any], info: dict[str, Any]) -> bool:
    """Move epoch and iteration in a checkpoint's meta data to the new loop, and return whether the batch changed."""
    loop, new, old = runner.train_loop, loop_record(runner), info.get("train_loop")
    changed = (
        ", ".join(f"{key} {in_line(old[key])} -> {new[key]}" for key in new if old[key] != new[key]) if old else ""
    )
    epoch, iteration = meta["epoch"], meta["iter"]
    if new["by_epoch"]:
        length = len(loop.dataloader)
        if old and not old["by_epoch"] and old["images_per_iter"]:  # the checkpoint counts iterations only
            old_length = old["images"] / old["images_per_iter"]
            meta["epoch"] = epoch = int(iteration / old_length)
        else:
            old_length = info["max_iters"] / info["max_epochs"] if "max_epochs" in info else length
        if old_length != length or not 0 <= iteration - epoch * length <= length:
            meta["iter"] = moved_iteration(epoch, iteration, old_length, length)
            changed = changed or f"iterations per epoch {old_length:g} -> {length}"
    if changed:
        print_log(
            f"The data differs from that of the checkpoint: {changed}. Training resumes at iteration {meta['iter']}"
            + (f", the same share of epoch {epoch + 1}." if new["by_epoch"] else " as counted in the checkpoint."),
            logger="current",
            level=logging.WARNING,
        )
    return bool(changed)


def settings_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return the settings in a scheduler's state, such as its end, factors and base values."""
    return {key: value for key, value in state.items() if key not in PROGRESS}


def renew_schedule(runner: Runner, checkpoint: dict) -> None:
    """Replace the schedules and rates of a checkpoint by those of the config at the same position if they differ."""
    wrapper, schedulers, saved = runner.optim_wrapper, runner.param_schedulers or [], checkpoint.get("optimizer")
    is_built = isinstance(wrapper, OptimWrapper) and not isinstance(wrapper, OptimWrapperDict)
    if not is_built or not saved or not all(isinstance(s, _ParamScheduler) for s in schedulers):
        return
    old_groups = saved["param_groups"] + list(filter(None, [saved.get("base_param_settings")]))
    if len(old_groups) != len(wrapper.param_groups) or any(getattr(s, "need_val_args", False) for s in schedulers):
        return  # the optimizer reports other groups; a schedule that follows metrics cannot be computed
    check_same_optimizer(wrapper, old_groups[0])
    scheduled = {s.param_name for s in schedulers}
    constant = {
        key: f"{in_line(key)} changed, {_brief(old[key])} -> {_brief(new[key])}"
        for old, new in zip(old_groups, wrapper.param_groups, strict=True)
        for key in old.keys() & new.keys() - scheduled - {"params", *(f"initial_{name}" for name in scheduled)}
        if old[key] != new[key]
    }
    states = checkpoint.get("param_schedulers") or []
    is_new = [settings_of(state) for state in states] != [settings_of(s.state_dict()) for s in schedulers]
    if not is_new and not constant:
        return
    before = old_groups[0]["lr"]
    if is_new:
        advance(schedulers, checkpoint["meta"]["iter"], runner)
        checkpoint["param_schedulers"] = [s.state_dict() for s in schedulers]
    keys = constant.keys() | (scheduled | {f"initial_{name}" for name in scheduled} if is_new else set())
    for old, new in zip(old_groups, wrapper.param_groups, strict=True):
        # A schedule of another type adds keys, such as the max_lr of OneCycleLR.
        old.update({key: new[key] for key in new if key in keys or key not in old})
    found = schedule_changes(states, [s.state_dict() for s in schedulers])
    if before != old_groups[0]["lr"]:
        found.append(f"learning rate {before:.4g} -> {old_groups[0]['lr']:.4g}")
    found += [text for key, text in sorted(constant.items()) if key != "lr"]
    print_log(
        f"The schedule or optimizer of the config differs from the checkpoint's and is used from iteration "
        f"{checkpoint['meta']['iter']} on: {'; '.join(found)}.",
        logger="current",
        level=logging.WARNING,
    )


def check_same_optimizer(wrapper: OptimWrapper, old_group: dict[str, Any]) -> None:
    """Refuse the state of another type of optimizer, recognized by the numbers among its settings, such as betas."""
    optimizer = wrapper.optimizer
    # Versions of PyTorch add flags to the settings of an optimizer.
    numbers = (name for name, value in optimizer.defaults.items() if value is not None and not isinstance(value, bool))
    if missing := sorted(set(numbers) - old_group.keys()):
        raise ValueError(
            f"The checkpoint's optimizer must be of the same type as the config's, {type(optimizer).__name__}, but it "
            f"has no {', '.join(missing)}. Resume with the optimizer of the checkpoint, or start a run from its "
            "weights with load_from, without --resume."
        )


def schedule_changes(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[str]:
    """Return what differs between the states of schedules, in words."""
    if [state["end"] for state in old] != [state["end"] for state in new]:
        return [f"{ends_of(old)} -> {ends_of(new)}"]
    found = []
    for index, pair in enumerate(zip(old, new, strict=True)):
        before, now = map(settings_of, pair)
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                is_base = key == "base_values"
                name = f"initial {pair[1]['param_name']}" if is_base else f"param_scheduler.{index}.{key}"
                found.append(in_line(f"{name} {_brief(before.get(key))} -> {_brief(now.get(key))}"))
    return list(dict.fromkeys(found))  # several schedules have the same initial rate


def _brief(value: Any) -> str:
    """Return a setting for the log; of a list with a value for each parameter group, the first."""
    value = value[0] if isinstance(value, list) and value else value
    return in_line(f"{value:.4g}" if isinstance(value, float) else reprlib.repr(value))


def ends_of(states: list[dict[str, Any]]) -> str:
    """Return the ends of schedules in words."""
    return "schedule ends at " + (", ".join(in_line(state["end"]) for state in states) or "no step: constant rate")


def advance(schedulers: list[_ParamScheduler], iterations: int, runner: Runner) -> None:
    """Step new schedulers, which compute each value from the last one, through the iterations that are done."""
    length = len(runner.train_dataloader) if isinstance(runner.train_loop, EpochBasedTrainLoop) else iterations + 1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `scheduler.step")
        for iteration in range(1, iterations + 1):
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
            if iteration % length == 0:
                for scheduler in schedulers:
                    if scheduler.by_epoch:
                        scheduler.step()
