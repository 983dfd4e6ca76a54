"""Draws of RandAugment's policies for the device: each policy's own draw, in its own order, without its pixel work."""

import math
from collections.abc import Callable
from typing import Any

from mmcv.transforms import BaseTransform
from mmpretrain.datasets.transforms import auto_augment

from mmtl.datasets.transforms.draws import record_draw, undecorated
from mmtl.datasets.transforms.view import image_hw, move_view
from mmtl.utils.augment_draws import Operation

WARPS = {
    "nearest": Operation.WARP_NEAREST,
    "bilinear": Operation.WARP_BILINEAR,
    "bicubic": Operation.WARP_BICUBIC,
}

random_disable, random_magnitude, random_negative = (
    undecorated(auto_augment.BaseAugTransform, name)
    for name in ("random_disable", "random_magnitude", "random_negative")
)


def draw_policy(policy: BaseTransform, results: dict[str, Any]) -> None:
    """Record what ``policy`` would do to the sample; the random stream advances as if it had done it."""
    if random_disable(policy):
        record_draw(results, Operation.IDENTITY)
    elif hasattr(policy, "local_affine"):
        _draw_warp(policy, results)
    else:
        record_draw(results, **COLOR_FORMS[type(policy)](policy))


def check_device_form(policy: BaseTransform) -> None:
    """Raise ValueError for a policy that only works in the worker."""
    name = type(policy).__name__
    if hasattr(policy, "local_affine"):
        if policy.interpolation not in WARPS:
            raise ValueError(
                f"interpolation of {name} must be one of {sorted(WARPS)} on the device, got "
                f"{policy.interpolation!r}. Choose one of them, or set on_device=False."
            )
    elif type(policy) not in COLOR_FORMS:
        raise ValueError(f"Policy {name} has no form on the device. Remove it, or set on_device=False.")


def _draw_warp(policy: BaseTransform, results: dict[str, Any]) -> None:
    fixed = policy.angle if isinstance(policy, auto_augment.Rotate) else policy.magnitude
    local = policy.local_affine(_signed(policy, fixed), image_hw(results))
    record_draw(results, WARPS[policy.interpolation], affine=local, fill=policy.pad_val)
    move_view(results, image_hw(results), local)


def _positive(policy: BaseTransform, fixed: float | None) -> float:
    return random_magnitude(policy) if fixed is None else fixed


def _signed(policy: BaseTransform, fixed: float | None) -> float:
    return random_negative(policy, _positive(policy, fixed))


def _posterize(policy: auto_augment.Posterize) -> dict[str, Any]:
    return dict(operation=Operation.POSTERIZE, value=max(0, math.ceil(_positive(policy, policy.bits))))


def _solarize(policy: auto_augment.Solarize) -> dict[str, Any]:
    # Pixels are integers: below the threshold means below its ceiling, which float32 holds exactly.
    return dict(operation=Operation.SOLARIZE, threshold=math.ceil(_positive(policy, policy.thr)))


def _solarize_add(policy: auto_augment.SolarizeAdd) -> dict[str, Any]:
    added = math.floor(_positive(policy, policy.magnitude))  # the sum is truncated to an integer
    return dict(operation=Operation.SOLARIZE_ADD, value=added, threshold=math.ceil(policy.thr))


def _blend(operation: Operation) -> Callable[[BaseTransform], dict[str, Any]]:
    def draw(policy: BaseTransform) -> dict[str, Any]:
        factor = 1 + _signed(policy, policy.magnitude)
        return dict(operation=operation, value=factor, rest=1 - factor)

    return draw


COLOR_FORMS: dict[type, Callable[[Any], dict[str, Any]]] = {
    auto_augment.AutoContrast: lambda policy: dict(operation=Operation.AUTO_CONTRAST),
    auto_augment.Equalize: lambda policy: dict(operation=Operation.EQUALIZE),
    auto_augment.Invert: lambda policy: dict(operation=Operation.INVERT),
    auto_augment.Posterize: _posterize,
    auto_augment.Solarize: _solarize,
    auto_augment.SolarizeAdd: _solarize_add,
    auto_augment.Brightness: _blend(Operation.BRIGHTNESS),
    auto_augment.Contrast: _blend(Operation.CONTRAST),
    auto_augment.ColorTransform: _blend(Operation.COLOR),
    auto_augment.Sharpness: _blend(Operation.SHARPNESS),
}
