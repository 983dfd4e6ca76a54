"""Merge parameter groups: OpenMMLab's constructors make one per parameter, which slows down optimizer steps."""

import functools
import inspect
import logging
from collections.abc import Iterable, Sequence

from mmengine.logging import MMLogger, print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn
from torch.optim import Optimizer

from mmtl.registry import OPTIM_WRAPPER_CONSTRUCTORS

# These describe how a group's rate and decay were derived, and the optimizer does not read them.
DESCRIPTIONS = ("params", "param_name", "lr_mult", "decay_mult")
COMMON_KEYS = ("cls_token", "pos_embed")  # of recipes for several backbones, some of which have none


def settings_of(group: dict) -> dict:
    """Return the settings of a parameter group that the optimizer or a scheduler reads."""
    return {key: value for key, value in group.items() if key not in DESCRIPTIONS}


def merge_state(members: Sequence[Sequence[int]], optimizer: Optimizer, state_dict: dict) -> dict | None:
    """Convert the state of an optimizer with one group per parameter to merged groups; a pre-hook of loading.

    ``members`` are for each merged group the indices of its parameters in the order of the constructor. They must have
    equal settings in the state, and all the same initial rate, by which the schedulers of the checkpoint were set up.
    None is returned for a state of other groups.
    """
    groups = state_dict["param_groups"]
    if len(groups) == len(members) or len(groups) != sum(map(len, members)):
        return None
    merged, mergeable = [], len({group.get("initial_lr") for group in groups}) == 1
    for indices in members:
        settings = [settings_of(groups[index]) for index in indices]
        mergeable = mergeable and all(other == settings[0] for other in settings)
        merged.append(settings[0] | {"params": [groups[index]["params"][0] for index in indices]})
    if not mergeable:
        raise ValueError(
            "The optimizer state of the checkpoint has one group per parameter, with settings that cannot be merged. "
            "Set optim_wrapper.paramwise_cfg.merge_groups=False to resume this run."
        )
    return state_dict | {"param_groups": merged}


class MergedGroupsMixin:
    """Merge the parameters of equal settings, for constructors of optimizer wrappers with ``add_params``.

    A checkpoint with one group per parameter is converted when a run resumes from it.
    ``paramwise_cfg=dict(merge_groups=False)`` keeps one group per parameter.
    """

    members: Sequence[Sequence[int]] = ()
    options = (
        *("bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult", "flat_decay_mult"),
        *("dcn_offset_lr_mult", "custom_keys", "bypass_duplicate", "merge_groups"),
    )

    def _validate_cfg(self) -> None:
        """Refuse options that nothing reads; decay multipliers work on the optimizer's own default decay, too."""
        if self.base_wd is None:
            kind = self.optimizer_cfg["type"]
            with OPTIMIZERS.switch_scope_and_registry(None) as registry:
                kind = registry.get(kind) if isinstance(kind, str) else kind
            default = inspect.signature(kind).parameters.get("weight_decay") if kind else None
            self.base_wd = default.default if default else 0.0
        super()._validate_cfg()
        if unknown := [key for key in self.paramwise_cfg if key not in self.options]:
            raise ValueError(
                f"optim_wrapper.paramwise_cfg of {type(self).__name__} has no option {', '.join(unknown)}. Use "
                f"{', '.join(self.options)}; layer_decay_rate is one of mmtl.LayerDecayOptimWrapperConstructor."
            )

    def adjust(self, params: list[dict], model: nn.Module) -> None:
        """Change the groups of the parameters of a complete model before they are merged."""

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs: object) -> None:
        """Add a module's parameters to ``params``, and merge the groups of the complete model (no ``prefix``)."""
        if prefix:
            super().add_params(params, module, prefix=prefix, **kwargs)
            return
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel(max(level, logging.WARNING))  # mmengine logs a line for every parameter
        super().add_params(params, module, prefix=prefix, **kwargs)
        logger.setLevel(level)
        self.adjust(params, module)
        warn_of_unused_keys(self.paramwise_cfg.get("custom_keys", ()), module)
        if not self.paramwise_cfg.get("merge_groups", True):
            return
        self._merge(params)
        count = sum(map(len, self.members))
        print_log(f"Optimizer: {count} parameters in {len(params)} groups of equal settings", logger)
        if len(params) <= 4:
            texts = (f"{len(group['params'])} of {settings_of(group)}" for group in params)
            print_log(f"Optimizer groups: {', '.join(texts)}", logger)

    def _merge(self, params: list[dict]) -> None:
        """Replace groups of one parameter by groups of equal settings, in order of their first parameter."""
        defaults = {"lr": self.base_lr, "weight_decay": self.base_wd}
        defaults = {key: value for key, value in defaults.items() if value is not None}
        merged, members = {}, {}
        for index, group in enumerate(params):
            settings = defaults | settings_of(group)
            key = repr(sorted(settings.items()))  # settings may be unhashable lists
            merged.setdefault(key, {**settings, "params": []})["params"] += group["params"]
            members.setdefault(key, []).append(index)
        params[:], self.members = merged.values(), list(members.values())

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of a model."""
        wrapper = super().__call__(model)
        settings = {"lr_mult", "decay_mult", *wrapper.optimizer.defaults}
        for key, options in self.paramwise_cfg.get("custom_keys", {}).items():
            if unknown := [name for name in options if name not in settings]:
                raise ValueError(
                    f"optim_wrapper.paramwise_cfg.custom_keys[{key!r}] sets {', '.join(unknown)}, which "
                    f"{type(wrapper.optimizer).__name__} does not read. Use some of {', '.join(sorted(settings))}."
                )
        if self.members:
            wrapper.optimizer.register_load_state_dict_pre_hook(functools.partial(merge_state, self.members))
        return wrapper


def warn_of_unused_keys(keys: Iterable[str], model: nn.Module) -> None:
    """Log a warning for each of the ``custom_keys`` that is part of no parameter's name."""
    names = [name if "." in name else f".{name}" for name, _ in model.named_parameters()]
    for key in keys:
        if not any(key in name for name in names) and key.strip(".") not in COMMON_KEYS:
            text = f"optim_wrapper.paramwise_cfg.custom_keys[{key!r}] matches no parameter and changes nothing."
            print_log(text, logger="current", level=logging.WARNING)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MergedOptimWrapperConstructor(MergedGroupsMixin, DefaultOptimWrapperConstructor):
    """mmengine's default constructor with one parameter group for all parameters of equal settings.

    LV-ViT-S has 2 groups instead of 195. Updates are the same, and fused and foreach optimizers need few launches.
    ``paramwise_cfg`` is mmengine's; ``merge_groups=False`` in it turns merging off.
    """
