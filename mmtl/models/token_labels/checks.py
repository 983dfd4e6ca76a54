"""Requirements on score maps and labels. Messages contain the value and its position."""

from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

from mmtl.models.token_labels.score_map_batch import ScoreMapBatch

LARGEST = 1e30  # float32 sums of a few such numbers are finite


def check_options(tail: str, outside: str, smoothing: float) -> None:
    """Raise ValueError for settings that :func:`token_targets` does not have."""
    _expect(tail in ("zero_logit", "probability"), "tail must be 'zero_logit' or 'probability'", repr(tail))
    _expect(outside in ("uniform", "ignore"), "outside must be 'uniform' or 'ignore'", repr(outside))
    check_smoothing(smoothing)


def check_smoothing(smoothing: float) -> None:
    """Raise ValueError unless the label smoothing is a number in [0, 1]."""
    _expect(isinstance(smoothing, Real) and 0 <= smoothing <= 1, "smoothing must be in [0, 1]", repr(smoothing))


def check_label_form(form: str, temperature: float, min_confidence: float) -> None:
    """Raise ValueError for settings that :func:`label_form` does not have."""
    _expect(form in ("soft", "hard", "gumbel"), "label_form must be 'soft', 'hard' or 'gumbel'", repr(form))
    is_positive = isinstance(temperature, Real) and 0 < temperature < float("inf")
    _expect(is_positive, "temperature must be a number above 0", repr(temperature))
    is_share = isinstance(min_confidence, Real) and 0 <= min_confidence <= 1
    _expect(is_share, "min_confidence must be in [0, 1]", repr(min_confidence))


def check_shapes(maps: ScoreMapBatch, grid_hw: tuple[int, int], num_classes: int) -> None:
    """Raise ValueError unless the shapes and types of a batch of score maps fit each other."""
    scores, classes, view_affine, log_norm, frames = maps
    shape, batch = tuple(scores.shape), len(scores)
    fits = len(shape) == 4 and shape == classes.shape and 0 not in shape[1:]
    _expect(fits, "scores and classes must both be [B, h, w, k]", f"{shape} and {tuple(classes.shape)}")
    _expect(scores.is_floating_point(), "scores must be floating", scores.dtype)
    _expect(_is_positive_integer(num_classes), "num_classes must be a positive integer", repr(num_classes))
    _check_integer(classes, "class")
    most = f"A cell must list at most {num_classes} classes, all that exist"
    _expect(shape[3] <= num_classes, most, f"{shape[3]} (k)")
    _expect(view_affine.shape == (batch, 2, 3), f"view_affine must be [{batch}, 2, 3]", tuple(view_affine.shape))
    if log_norm is not None:
        _expect(log_norm.shape == shape[:3], f"log_norm must be {shape[:3]}", tuple(log_norm.shape))
    if frames is not None:
        fits = frames.ndim == 4 and frames.shape[::2] == (batch, 2) and frames.shape[3] == 3
        _expect(fits, f"frame_affines must be [{batch}, F, 2, 3]", tuple(frames.shape))
    is_grid = isinstance(grid_hw, Sequence) and len(grid_hw) == 2 and all(map(_is_positive_integer, grid_hw))
    _expect(is_grid, "grid_hw must be two positive numbers of tokens (h, w)", repr(grid_hw))


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


def check_classes(classes: Tensor, num_classes: int | None, what: str) -> None:
    """Raise ValueError unless classes (or labels: ``what``) are integers from 0 to ``num_classes`` - 1."""
    _check_integer(classes, what)
    if classes.numel() == 0:
        return
    lowest, highest = (int(value) for value in classes.long().aminmax())
    if lowest < 0 or (num_classes is not None and highest >= num_classes):
        wrong = lowest if lowest < 0 else highest
        position = _first(classes == wrong) if classes.ndim else "this image"
        known = "at least 0" if num_classes is None else f"within the {num_classes} classes (0 to {num_classes - 1})"
        raise ValueError(f"A {what} must be {known}, got {what} {wrong} at {position}.")


def _check_log_norm(scores: Tensor, log_norm: Tensor) -> None:
    if scores.numel() == 0:
        return
    top = scores.amax(-1)
    # Both may be float16, each off by 1/2048 of itself.
    too_low = log_norm < top - 1e-3 * (top.abs() + log_norm.abs() + 1)
    if too_low.any():
        position = _first(too_low)
        raise ValueError(
            "log_norm must be the log-sum-exp over all classes, so at least the top score "
            f"{top[position].item()}, got {log_norm[position].item()} at {position}. It is not of these scores."
        )


def _check_integer(classes: Tensor, what: str) -> None:
    is_integer = not (classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool)
    _expect(is_integer, f"A {what} must be an integer", classes.dtype)


def _check_finite(values: Tensor, name: str) -> None:
    if values.numel() == 0:
        return
    lowest, highest = (value.item() for value in values.aminmax())  # NaN if any is
    if not (-LARGEST <= lowest and highest <= LARGEST):
        position = _first(~(values.abs() <= LARGEST))
        expected = f"{name} must be finite (at most {LARGEST:g} in size)"
        raise ValueError(f"{expected}, got {values[position].item()} at {position}.")


def _expect(fits: bool, expected: str, got: object) -> None:
    if not fits:
        raise ValueError(f"{expected}, got {got}.")


def _first(mask: Tensor) -> tuple[int, ...]:
    return tuple(mask.nonzero()[0].tolist())


def _is_positive_integer(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool) and number > 0
