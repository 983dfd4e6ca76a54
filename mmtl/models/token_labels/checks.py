"""Requirements on score maps and labels. Messages contain the value and its position."""

from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

from mmtl.models.token_labels.score_map_batch import ScoreMapBatch

LARGEST = 1e30  # float32 sums of a few such numbers are finite


def check_options(tail: str, outside: str, smoothing: float) -> None:
    """Raise ValueError for settings that :func:`token_targets` does not have."""
    if tail not in ("zero_logit", "probability"):
        raise ValueError(f"tail must be 'zero_logit' or 'probability', got {tail!r}.")
    if outside not in ("uniform", "ignore"):
        raise ValueError(f"outside must be 'uniform' or 'ignore', got {outside!r}.")
    check_smoothing(smoothing)


def check_smoothing(smoothing: float) -> None:
    """Raise ValueError unless the label smoothing is a number in [0, 1]."""
    if not isinstance(smoothing, Real) or not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must be in [0, 1], got {smoothing!r}.")


def check_shapes(maps: ScoreMapBatch, grid_hw: tuple[int, int], num_classes: int) -> None:
    """Raise ValueError unless the shapes and types of a batch of score maps fit each other."""
    shape, batch = tuple(maps.scores.shape), len(maps.scores)
    if len(shape) != 4 or shape != maps.classes.shape or 0 in shape[1:]:
        raise ValueError(f"scores and classes must both be [B, h, w, k], got {shape} and {tuple(maps.classes.shape)}.")
    if not maps.scores.is_floating_point():
        raise ValueError(f"scores must be floating, got {maps.scores.dtype}.")
    if not is_positive_integer(num_classes):
        raise ValueError(f"num_classes must be a positive integer, got {num_classes!r}.")
    _check_integer(maps.classes, "class")
    if shape[3] > num_classes:
        raise ValueError(f"A cell must list at most {num_classes} classes, all that exist, got {shape[3]} (k).")
    if maps.view_affine.shape != (batch, 2, 3):
        raise ValueError(f"view_affine must be [{batch}, 2, 3], got {tuple(maps.view_affine.shape)}.")
    if maps.log_norm is not None and maps.log_norm.shape != shape[:3]:
        raise ValueError(f"log_norm must be {shape[:3]}, got {tuple(maps.log_norm.shape)}.")
    frames = maps.frame_affines
    if frames is not None and (frames.ndim != 4 or frames.shape[::2] != (batch, 2) or frames.shape[3] != 3):
        raise ValueError(f"frame_affines must be [{batch}, F, 2, 3], got {tuple(frames.shape)}.")
    if not isinstance(grid_hw, Sequence) or len(grid_hw) != 2 or not all(map(is_positive_integer, grid_hw)):
        raise ValueError(f"grid_hw must be two positive numbers of tokens (h, w), got {grid_hw!r}.")


def check_values(maps: ScoreMapBatch, num_classes: int | None) -> None:
    """Check the numbers in score maps, of one image or of a batch. This reads them on the host.

    Args:
        maps: the score maps, with or without batch axis.
        num_classes: K; None skips the upper bound of the classes.

    Raises:
        ValueError: for a class out of range, a number that is not finite, a log_norm below the top score, or an affine
            of no area.
    """
    check_classes(maps.classes, num_classes, "class")
    for name in ("scores", "log_norm", "view_affine"):
        if getattr(maps, name) is not None:
            _check_finite(getattr(maps, name), name)
    areas = torch.linalg.det(maps.view_affine[..., :2].double()).abs()
    if (areas < 1e-12).any():
        image = int(areas.argmin())
        affine = maps.view_affine.reshape(-1, 2, 3)[image].tolist()
        raise ValueError(f"view_affine must map to a positive area, got {affine} for image {image} of the batch.")
    if maps.log_norm is not None:
        _check_log_norm(maps.scores, maps.log_norm)


def _check_log_norm(scores: Tensor, log_norm: Tensor) -> None:
    if scores.numel() == 0:
        return
    top = scores.amax(-1)
    # Both may be float16, each off by 1/2048 of itself.
    too_low = log_norm < top - 1e-3 * (top.abs() + log_norm.abs() + 1)
    if too_low.any():
        position = tuple(too_low.nonzero()[0].tolist())
        raise ValueError(
            "log_norm must be the log-sum-exp over all classes, so at least the top score "
            f"{top[position].item()}, got {log_norm[position].item()} at {position}. It is not of these scores."
        )


def check_classes(classes: Tensor, num_classes: int | None, what: str) -> None:
    """Raise ValueError unless classes (or labels: ``what``) are integers from 0 to ``num_classes`` - 1."""
    _check_integer(classes, what)
    if classes.numel() == 0:
        return
    lowest, highest = (int(value) for value in classes.long().aminmax())
    if lowest < 0 or (num_classes is not None and highest >= num_classes):
        wrong = lowest if lowest < 0 else highest
        position = tuple((classes == wrong).nonzero()[0].tolist()) if classes.ndim else "this image"
        known = "at least 0" if num_classes is None else f"within the {num_classes} classes (0 to {num_classes - 1})"
        raise ValueError(f"A {what} must be {known}, got {what} {wrong} at {position}.")


def _check_integer(classes: Tensor, what: str) -> None:
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise ValueError(f"A {what} must be an integer, got {classes.dtype}.")


def _check_finite(values: Tensor, name: str) -> None:
    if values.numel() == 0:
        return
    lowest, highest = (value.item() for value in values.aminmax())  # NaN if any is
    if -LARGEST <= lowest and highest <= LARGEST:
        return
    position = tuple((~(values.abs() <= LARGEST)).nonzero()[0].tolist())
    raise ValueError(
        f"{name} must be finite (at most {LARGEST:g} in size), got {values[position].item()} at {position}."
    )


def is_positive_integer(number: object) -> bool:
    """Whether a number is an integer above 0, not a bool."""
    return isinstance(number, Integral) and not isinstance(number, bool) and number > 0
