"""Augmentation of a batch on the device, by the draws that the workers made."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mmtl.models.batch_augments.device_color import color, look_up, sharpness
from mmtl.models.batch_augments.device_erase import Normalization, erase
from mmtl.models.batch_augments.device_warp import warp
from mmtl.utils.augment_draws import Operation, unpack_draws
from mmtl.utils.to_device import to_device

Draws = Tensor | np.ndarray  # float32 [B, L, D] on the CPU, see mmtl.utils.augment_draws
Apply = Callable[[Tensor, np.ndarray], Tensor]


def _flip(images: Tensor, draws: np.ndarray, dims: tuple[int, ...]) -> Tensor:
    return images.flip(dims)


#: How boxes are erased.
ERASING: tuple[tuple[tuple[Operation, ...], Apply], ...] = (
    ((Operation.ERASE_NORMAL,), partial(erase, uniform=False)),
    ((Operation.ERASE_UNIFORM,), partial(erase, uniform=True)),
)
#: Operations that are applied together, and how.
GROUPS: tuple[tuple[tuple[Operation, ...], Apply], ...] = (
    ((Operation.FLIP_HORIZONTAL,), partial(_flip, dims=(3,))),
    ((Operation.FLIP_VERTICAL,), partial(_flip, dims=(2,))),
    ((Operation.FLIP_DIAGONAL,), partial(_flip, dims=(2, 3))),
    (
        (
            Operation.INVERT,
            Operation.POSTERIZE,
            Operation.SOLARIZE,
            Operation.SOLARIZE_ADD,
            Operation.BRIGHTNESS,
            Operation.AUTO_CONTRAST,
            Operation.EQUALIZE,
            Operation.CONTRAST,
        ),
        look_up,
    ),
    ((Operation.COLOR,), color),
    ((Operation.SHARPNESS,), sharpness),
    ((Operation.WARP_NEAREST,), partial(warp, mode="nearest")),
    ((Operation.WARP_BILINEAR,), partial(warp, mode="bilinear")),
    ((Operation.WARP_BICUBIC,), partial(warp, mode="bicubic")),
    *ERASING,
)

#: Operations that move pixels.
GEOMETRIC = [kind for kind in Operation if kind.name.startswith(("FLIP", "WARP"))]


@torch.no_grad()
def augment_images(images: Tensor, draws: Draws) -> Tensor:
    """Apply the drawn operations of every image, in the drawn order.

    Which images an operation concerns is known on the host, so nothing waits for the device.

    Args:
        images: uint8 [B, 3, H, W] on any device, channels in OpenCV's order (BGR). Images of other channels or of
            float32 [B, C, H, W] take only operations that move pixels.
        draws: float32 [B, L, D] on the CPU, a tensor or an array, see :mod:`mmtl.utils.augment_draws`.

    Returns:
        Tensor: like the images; the argument is left as it was.

    Raises:
        ValueError: An operation changes colors, and the images are not BGR of 8 bit.
    """
    rows = unpack_draws(draws)
    others = [kind.name for kind in Operation if kind and kind not in GEOMETRIC and kind in rows["operation"]]
    if others and (images.dtype != torch.uint8 or images.shape[1] != 3):
        raise ValueError(
            f"{', '.join(others)}: such operations need BGR images of 8 bit, got {images.shape[1]} channels of "
            f"{images.dtype}. Use only flips and the policies Rotate, Shear and Translate, and erase after them."
        )
    return _apply(images.clone(), _schedule(rows, GROUPS))


def geometric_draws(draws: Tensor) -> Tensor:
    """Return draws [B, L, D] with the identity in place of everything that changes colors or erases."""
    moves = np.isin(unpack_draws(draws)["operation"], GEOMETRIC)
    return draws * torch.from_numpy(moves).unsqueeze(-1)


def split_erasing(draws: Draws) -> tuple[Draws, Draws]:
    """Split draws [B, L, D] before the erasing at their end, which :func:`erase_last` applies after normalization."""
    erasing = np.isin(unpack_draws(draws)["operation"], (0, *(kind for kinds, _ in ERASING for kind in kinds)))
    others = np.flatnonzero(~erasing.all(axis=0))
    first = others[-1] + 1 if others.size else 0
    return draws[:, :first], draws[:, first:]


@torch.no_grad()
def erase_last(images: Tensor, draws: Draws, normalization: Normalization) -> Tensor:
    """Erase boxes of normalized images, float32 [B, C, H, W], in place.

    Args:
        images: the images, which are changed.
        draws: float32 [B, L, D] on the CPU, the second part of :func:`split_erasing`.
        normalization: of the images.
    """
    groups = [(kinds, partial(apply, normalization=normalization)) for kinds, apply in ERASING]
    return _apply(images, _schedule(unpack_draws(draws), groups))


def _apply(images: Tensor, schedule: Iterator[tuple[Apply, np.ndarray, np.ndarray]]) -> Tensor:
    """Apply a schedule to the images in place."""
    work = list(schedule)
    if work:
        _, _, concerned = zip(*work, strict=True)
        indices = to_device(np.concatenate(concerned), images.device).split([len(part) for part in concerned])
        for (apply, rows, _), index in zip(work, indices, strict=True):
            images.index_copy_(0, index, apply(images.index_select(0, index), rows))
    return images


def _schedule(
    rows: np.ndarray, groups: Iterable[tuple[tuple[Operation, ...], Apply]]
) -> Iterator[tuple[Apply, np.ndarray, np.ndarray]]:
    """Yield what to apply, with which draws [n], to which images, int64 [n], sorted by operation.

    Args:
        rows: :data:`DRAW` [B, L].
        groups: operations that are applied together, and how.
    """
    for step in rows.T:
        for operations, apply in groups:
            (concerned,) = np.nonzero(np.isin(step["operation"], operations))
            concerned = concerned[step["operation"][concerned].argsort(kind="stable")]
            if concerned.size:
                yield apply, step[concerned], concerned
