"""Merge parameter groups: OpenMMLab's constructors make one per parameter, which slows down optimizer steps."""

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmengine.logging import MMLogger, print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn
from torch.optim import Optimizer

from mmtl.registry import OPTIM_WRAPPER_CONSTRUCTORS

# These describe how a group's rate and decay were derived, and the optimizer does not read them.
DESCRIPTIONS = ("params", "param_name", "lr_mult", "decay_mult")


def settings_of(group: dict) -> dict:
    """Return the settings of a parameter group that the optimizer or a scheduler reads."""
    return {key: value for key, value in group.items() if key not in DESCRIPTIONS}


def equal_groups(groups: Sequence[dict], **defaults: object) -> list[list[int]]:
    """Return the indices of groups with equal settings, in order of their first group.

    Args:
        groups: parameter groups.
        **defaults: settings of groups that do not set them.
    """
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        key = repr(sorted((defaults | settings_of(group)).items()))  # settings may be unhashable lists
        members.setdefault(key, []).append(index)
    return list(members.values())


def merge_state(members: Sequence[Sequence[int]], optimizer: Optimizer, state_dict: dict) -> dict | None:
    """Convert the state of an optimizer with one group per parameter to merged groups; a pre-hook of loading.

    Args:
        members: for each merged group the indices of its parameters in the order of the constructor.
        optimizer: optimizer that loads the state.
        state_dict: state to load; None is returned if it does not have one group per parameter.

    Raises:
        ValueError: If parameters of one merged group have different settings in the state, or parameters have
            different initial learning rates, by which the schedulers of the checkpoint were set up.
    """
    groups, count = state_dict["param_groups"], sum(map(len, members))
    if len(groups) != count or len(members) == count or any(len(group["params"]) != 1 for group in groups):
        return None
    settings = [settings_of(group) for group in groups]
    different = any(settings[index] != settings[indices[0]] for indices in members for index in indices)
    if different or len({group.get("initial_lr") for group in groups}) > 1:
        raise ValueError(
            "The optimizer state of the checkpoint has one group per parameter, with settings that cannot be merged. "
            "Set optim_wrapper.paramwise_cfg.merge_groups=False to resume this run."
        )
    order = [index for indices in members for index in indices]
    positions = {index: position for position, index in enumerate(order)}
    merged = []
    for indices in members:
        merged.append(settings[indices[0]] | {"params": [positions[index] for index in indices]})
    # A group's only entry is the key of its parameter's state; parameters without a gradient have no state.
    keys = [groups[index]["params"][0] for index in order]
    state = {position: state_dict["state"][key] for position, key in enumerate(keys) if key in state_dict["state"]}
    return state_dict | {"state": state, "param_groups": merged}


@contextmanager
def warnings_only() -> Iterator[None]:
    """Suppress the INFO lines that mmengine logs for every parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


class MergedGroupsMixin:
    """Merge the parameters of equal settings, for constructors of optimizer wrappers with ``add_params``.

    A checkpoint with one group per parameter is converted when a run resumes from it.
    ``paramwise_cfg=dict(merge_groups=False)`` keeps one group per parameter.
    """

    members: list[list[int]] | None = None

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs: object) -> None:
        """Add a module's parameters, and merge the groups of the complete model.

        Args:
            params: groups, extended in place.
            module: the model, then its parts.
            prefix: name of the part in the model.
            **kwargs: arguments of the parent class.
        """
        if prefix or not self.paramwise_cfg.get("merge_groups", True):
            super().add_params(params, module, prefix=prefix, **kwargs)
            return
        with warnings_only():
            super().add_params(params, module, prefix=prefix, **kwargs)
        defaults = {"lr": self.base_lr, "weight_decay": self.base_wd}
        defaults = {key: value for key, value in defaults.items() if value is not None}
        self.members, single = equal_groups(params, **defaults), list(params)
        params[:] = [
            defaults | settings_of(single[indices[0]]) | {"params": [p for i in indices for p in single[i]["params"]]}
            for indices in self.members
        ]
        print_log(f"Optimizer: {len(single)} parameters in {len(params)} groups of equal settings", logger="current")
        if len(params) <= 4:
            texts = (f"{len(group['params'])} of {settings_of(group)}" for group in params)
            print_log(f"Optimizer groups: {', '.join(texts)}", logger="current")

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of a model."""
        wrapper = super().__call__(model)
        if self.members is not None:
            wrapper.optimizer.register_load_state_dict_pre_hook(functools.partial(merge_state, self.members))
        return wrapper


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MergedOptimWrapperConstructor(MergedGroupsMixin, DefaultOptimWrapperConstructor):
    """mmengine's default constructor with one parameter group for all parameters of equal settings.

    LV-ViT-S has 2 groups instead of 195. Updates are the same, and fused and foreach optimizers need few launches.
    ``paramwise_cfg`` is mmengine's; ``merge_groups=False`` in it turns merging off.
    """
