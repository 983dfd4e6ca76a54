"""Layout of the random draws that a worker makes and the device applies.

A row of :data:`DRAW` is one operation on one image. A sample has float32 [L, D], in order, and a batch [B, L, D].
"""

from enum import IntEnum, auto
from typing import Any

import numpy as np


class Operation(IntEnum):
    """What a row does to the image; the comments name the fields that it reads."""

    IDENTITY = 0
    FLIP_HORIZONTAL = auto()
    FLIP_VERTICAL = auto()
    FLIP_DIAGONAL = auto()
    INVERT = auto()
    POSTERIZE = auto()  # value: bits kept
    SOLARIZE = auto()  # threshold
    SOLARIZE_ADD = auto()  # value: gray levels added below threshold
    BRIGHTNESS = auto()  # value: factor, rest: 1 - factor
    AUTO_CONTRAST = auto()
    EQUALIZE = auto()
    CONTRAST = auto()  # value, rest
    COLOR = auto()  # value, rest
    SHARPNESS = auto()  # value, rest
    WARP_NEAREST = auto()  # affine, fill
    WARP_BILINEAR = auto()  # affine, fill
    WARP_BICUBIC = auto()  # affine, fill
    ERASE_NORMAL = auto()  # box_xyxy, fill: mean, std, seed
    ERASE_UNIFORM = auto()  # box_xyxy, seed


#: One operation on one image. Every field is float32, so that rows of all kinds travel in one tensor.
DRAW = np.dtype(
    [
        ("operation", np.float32),
        ("value", np.float32),
        ("rest", np.float32),
        ("threshold", np.float32),
        ("seed", np.float32),  # an integer below NUM_SEEDS
        ("affine", np.float32, (2, 3)),  # unit square of the new image -> unit square of the image before
        ("box_xyxy", np.float32, 4),  # pixels
        ("fill", np.float32, 3),  # gray levels, in the order of the image's channels
        ("std", np.float32, 3),
    ]
)
DRAW_SIZE = DRAW.itemsize // 4  # D
IDENTITY_DRAW = np.zeros(DRAW_SIZE, np.float32)
NUM_SEEDS = 2**24  # integers that float32 holds exactly


def make_draw(operation: Operation, **fields: Any) -> np.ndarray:
    """Return one row, float32 [D].

    Args:
        operation: what the device does.
        **fields: values of the fields of :data:`DRAW` that the operation reads; others are zero.
    """
    if operation == Operation.IDENTITY:
        return IDENTITY_DRAW
    values = np.zeros(DRAW_SIZE, np.float32)
    row = values.view(DRAW)
    row["operation"] = operation
    for name, value in fields.items():
        row[name] = value
    return values


def unpack_draws(packed: np.ndarray) -> np.ndarray:
    """Return packed draws as an array of :data:`DRAW` [...], whose fields are read by name.

    Args:
        packed: float32 [..., D], an array or a tensor on the CPU.
    """
    if packed.shape[-1] != DRAW_SIZE:
        raise ValueError(f"draws must have {DRAW_SIZE} values a row, got an array of shape {packed.shape}.")
    return np.ascontiguousarray(packed, np.float32).view(DRAW)[..., 0]
