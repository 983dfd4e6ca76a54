"""Draws of steps with ``on_device=True``, recorded in the sample in place of touching its image.

Such a step draws as ever and moves the view, and records one row for each operation.
:class:`PackTokenLabelInputs` packs the rows, and
:func:`mmtl.models.batch_augments.device_augment.augment_images` applies them to the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmtl.utils.augment_draws import Operation, make_draw


def undecorated(transform: type, name: str) -> Callable:
    """Return a method without mmcv's decorator ``cache_randomness``, which copies itself at every call."""
    return vars(transform)[name].func


class cached_draw(cache_randomness):  # noqa: N801 - a decorator, as its parent
    """mmcv's ``cache_randomness`` without its copy at every call outside of ``cache_random_params``.

    Classes get a list of such methods of their own: mmcv's decorator would append to that of the parent class.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        owner._methods_with_randomness = sorted({*getattr(owner, "_methods_with_randomness", ()), name})

    def __get__(self, transform: BaseTransform | None, cls: type) -> Callable:
        if transform is None:  # the class is inspected, as by Sphinx
            return self.func
        is_caching = getattr(transform, "_cache_enabled", False)
        return super().__get__(transform, cls) if is_caching else MethodType(self.func, transform)


@dataclass
class PendingDraws:
    """Draws of one sample that no one has applied yet.

    Attributes:
        image: the image that they are for.
        seen: a read-only view of it, the sample's ``img`` while draws are pending. A later step that writes to the
            image fails, and one that replaces the image is noticed.
        rows: float32 [D] per operation, in order.
    """

    image: np.ndarray
    seen: np.ndarray
    rows: list[np.ndarray] = field(default_factory=list)


def record_draw(results: dict[str, Any], operation: Operation, **fields: Any) -> None:
    """Append an operation to the draws of a sample.

    Args:
        results: the sample.
        operation: see :func:`make_draw`.
        **fields: see :func:`make_draw`.
    """
    if "pending_draws" not in results:
        image = results["img"]
        results["img"] = image.view()
        results["img"].flags.writeable = False
        results["pending_draws"] = PendingDraws(image, results["img"])
    check_order(results)
    results["pending_draws"].rows.append(make_draw(operation, **fields))


def check_order(results: dict[str, Any], worker_step: str | None = None) -> None:
    """Raise ValueError when the image was changed in the worker after a step with ``on_device=True``.

    Args:
        results: the sample.
        worker_step: name of the calling step if it is about to change the image.
    """
    pending = results.get("pending_draws")
    if pending is not None and (worker_step or results["img"] is not pending.seen):
        raise ValueError(
            f"{worker_step or 'A step'} changes the image in the worker after a step with on_device=True, which would "
            f"run after it on the device (image {results.get('img_path')!r}). Move it before the steps with "
            "on_device=True, or set on_device=False for those before it."
        )


def take_draws(results: dict[str, Any]) -> np.ndarray | None:
    """Return the draws of a sample as float32 [L, D] and make its image writable again; None without any."""
    check_order(results)
    pending = results.pop("pending_draws", None)
    if pending is None:
        return None
    results["img"] = pending.image
    return np.concatenate(pending.rows).reshape(len(pending.rows), -1)
