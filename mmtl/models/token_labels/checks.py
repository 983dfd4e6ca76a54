"""What a batch of score maps must fulfil before labels are read from it; messages tell the value and its place."""

from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

LARGEST = 1e30  # float32 sums of a few such numbers are finite


def check_options(tail: str, outside: str, smoothing: float) -> None:
    """Raise ValueError for settings that :func:`token_targets` does not have."""
    if tail not in ("zero_logit", "probability"):
        raise ValueError(f"tail must be 'zero_logit' or 'probability', got {tail!r}")
    if outside not in ("uniform", "ignore"):
        raise ValueError(f"outside must be 'uniform' or 'ignore', got {outside!r}")
    check_smoothing(smoothing)


def check_smoothing(smoothing: float) -> None:
    """Raise ValueError for a label smoothing that is no number in [0, 1]."""
    if not isinstance(smoothing, Real) or not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must be in [0, 1], got {smoothing!r}")


def check_shapes(
    scores: Tensor,
    classes: Tensor,
    view_affine: Tensor,
    grid_hw: tuple[int, int],
    log_norm: Tensor | None,
    frame_affines: Tensor | None,
) -> None:
    """Raise ValueError unless the arguments of :func:`token_targets` fit each other."""
    if scores.ndim != 4 or scores.shape != classes.shape or 0 in scores.shape[1:]:
        raise ValueError(
            f"scores and classes must both be [B, h, w, k], got {tuple(scores.shape)} and {tuple(classes.shape)}"
        )
    if not scores.is_floating_point():
        raise ValueError(f"scores must be floating, got {scores.dtype}")
    if view_affine.shape != (len(scores), 2, 3):
        raise ValueError(f"view_affine must be [{len(scores)}, 2, 3], got {tuple(view_affine.shape)}")
    if log_norm is not None and log_norm.shape != scores.shape[:3]:
        raise ValueError(f"log_norm must be {tuple(scores.shape[:3])}, got {tuple(log_norm.shape)}")
    if frame_affines is not None and (
        frame_affines.ndim != 4 or frame_affines.shape[::2] != (len(scores), 2) or frame_affines.shape[3] != 3
    ):
        raise ValueError(f"frame_affines must be [{len(scores)}, F, 2, 3], got {tuple(frame_affines.shape)}")
    if not isinstance(grid_hw, Sequence) or len(grid_hw) != 2 or not all(map(_is_count, grid_hw)):
        raise ValueError(f"grid_hw must be two positive numbers of tokens (h, w), got {grid_hw!r}")


def check_values(
    scores: Tensor, classes: Tensor, view_affine: Tensor, log_norm: Tensor | None, num_classes: int
) -> None:
    """Raise ValueError for a class out of range, a number that cannot be right, or an affine of no area."""
    check_classes(classes, num_classes, "class")
    if scores.shape[-1] > num_classes:
        raise ValueError(f"a cell names {scores.shape[-1]} classes (k), more than the {num_classes} that there are")
    for name, values in (("scores", scores), ("log_norm", log_norm), ("view_affine", view_affine)):
        if values is not None:
            _check_finite(values, name)
    areas = torch.linalg.det(view_affine[:, :, :2].double()).abs()
    if (areas < 1e-12).any():
        image = int(areas.argmin())
        raise ValueError(f"view_affine of image {image} has no area: {view_affine[image].tolist()}")


def check_log_norm(scores: Tensor, log_norm: Tensor | None) -> None:
    """Raise ValueError unless there is a log_norm [B, h, w] that can be that of the scores [B, h, w, k]."""
    if log_norm is None:
        raise ValueError(
            "tail='probability' needs log_norm, the log-sum-exp over all classes, which these score maps lack "
            "(released archives do): make the maps with tools/make_score_maps.py or use tail='zero_logit'"
        )
    best = scores.amax(-1)
    # Both may be float16, each off by 1/2048 of itself.
    too_low = log_norm < best - 1e-3 * (best.abs() + log_norm.abs() + 1)
    if too_low.any():
        place = tuple(too_low.nonzero()[0].tolist())
        raise ValueError(
            f"log_norm, the log-sum-exp over all classes, is at least the best score; at {place} it is "
            f"{log_norm[place].item()} and the best score {best[place].item()}: not of these scores"
        )


def check_classes(classes: Tensor, num_classes: int, what: str) -> None:
    """Raise ValueError for classes, or labels, that are no integers, negative or not below ``num_classes``."""
    if not _is_count(num_classes):
        raise ValueError(f"num_classes must be a positive integer, got {num_classes!r}")
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise ValueError(f"a {what} must be an integer, got {classes.dtype}")
    if classes.numel() == 0:
        return
    lowest, highest = (int(value) for value in classes.long().aminmax())
    if lowest < 0 or highest >= num_classes:
        wrong = lowest if lowest < 0 else highest
        place = tuple((classes == wrong).nonzero()[0].tolist())
        raise ValueError(f"{what} {wrong} at {place} is not within the {num_classes} classes (0 to {num_classes - 1})")


def _check_finite(values: Tensor, name: str) -> None:
    if values.numel() == 0:
        return
    lowest, highest = (value.item() for value in values.aminmax())  # NaN if any is
    if -LARGEST <= lowest and highest <= LARGEST:
        return
    place = tuple((~(values.abs() <= LARGEST)).nonzero()[0].tolist())
    raise ValueError(f"{name} must be finite (at most {LARGEST:g} in size), got {values[place].item()} at {place}")


def _is_count(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool) and number > 0
