"""What a batch of score maps must fulfil before labels are read from it; messages tell the value and its place."""

import torch
from torch import Tensor


def check_shapes(
    scores: Tensor,
    classes: Tensor,
    view_affine: Tensor,
    grid_hw: tuple[int, int],
    log_norm: Tensor | None,
    frame_affines: Tensor | None,
) -> None:
    """Raise ValueError unless the arguments of :func:`mmtl.models.token_targets.token_targets` fit each other."""
    if scores.ndim != 4 or scores.shape != classes.shape or 0 in scores.shape[1:]:
        raise ValueError(
            f"scores and classes must both be [B, h, w, k], got {tuple(scores.shape)} and {tuple(classes.shape)}"
        )
    if not scores.is_floating_point() or classes.is_floating_point():
        raise ValueError(f"scores must be floating and classes integer, got {scores.dtype} and {classes.dtype}")
    if view_affine.shape != (len(scores), 2, 3):
        raise ValueError(f"view_affine must be [{len(scores)}, 2, 3], got {tuple(view_affine.shape)}")
    if log_norm is not None and log_norm.shape != scores.shape[:3]:
        raise ValueError(f"log_norm must be {tuple(scores.shape[:3])}, got {tuple(log_norm.shape)}")
    if frame_affines is not None and (
        frame_affines.ndim != 4 or frame_affines.shape[::2] != (len(scores), 2) or frame_affines.shape[3] != 3
    ):
        raise ValueError(f"frame_affines must be [{len(scores)}, F, 2, 3], got {tuple(frame_affines.shape)}")
    if len(grid_hw) != 2 or min(grid_hw) < 1:
        raise ValueError(f"grid_hw must be two positive numbers of tokens (h, w), got {tuple(grid_hw)}")


def check_values(
    scores: Tensor, classes: Tensor, view_affine: Tensor, log_norm: Tensor | None, num_classes: int
) -> None:
    """Raise ValueError for a class out of range, a number that is not finite, or an affine of no area."""
    check_classes(classes, num_classes, "class")
    for name, values in (("scores", scores), ("log_norm", log_norm), ("view_affine", view_affine)):
        if values is not None:
            _check_finite(values, name)
    areas = torch.linalg.det(view_affine[:, :, :2].double()).abs()
    if (areas < 1e-12).any():
        image = int(areas.argmin())
        raise ValueError(f"view_affine of image {image} has no area: {view_affine[image].tolist()}")


def check_classes(classes: Tensor, num_classes: int, what: str) -> None:
    """Raise ValueError for a class, or a label, that is negative or not below ``num_classes``."""
    if classes.numel() == 0:
        return
    lowest, highest = (int(value) for value in classes.long().aminmax())
    if lowest < 0 or highest >= num_classes:
        wrong = lowest if lowest < 0 else highest
        place = tuple((classes == wrong).nonzero()[0].tolist())
        raise ValueError(f"{what} {wrong} at {place} is not within the {num_classes} classes (0 to {num_classes - 1})")


def _check_finite(values: Tensor, name: str) -> None:
    # The sum of numbers that are not all finite is not finite: one pass tells what almost always holds.
    if values.sum(dtype=torch.float64).isfinite():
        return
    place = tuple((~values.isfinite()).nonzero()[0].tolist())
    raise ValueError(f"{name} must be finite, got {values[place].item()} at {place}")
