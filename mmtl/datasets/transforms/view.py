"""The view of a sample: which part of the original image its current image shows, and whether that is known.

These keys of the results dictionary carry it, written here and nowhere else but where noted:

- ``view_affine``: float64 [2, 3], unit square of the current image -> unit square of the original.
- ``view_hw``: the image size for which it holds.
- ``frame_affines``: float64 [n, 2, 3], unit square of the current image -> unit squares that a place must lie in
  to show picture. A rotation after a crop fills its corners with padding; the view alone would take them for the
  part of the original image that the crop threw away.
- ``erased_affines``: float64 [n, 2, 3], unit square of each erased box -> unit square of the current image
  (begun by RandomErasing).
- ``view_flip``: receipt of RandomFlip for ``flip`` and ``flip_direction``.
- ``view_problem``: what an untracked transform did, kept until somebody needs the view.
"""

from typing import Any

import numpy as np
import torch

from mmtl.datasets.transforms.geometry import box_bounds, compose, identity_affine, invert

REMEDY = (
    "use the transforms of mmtl for everything that moves pixels (mmtl.RandomResizedCrop, mmtl.RandomFlip, "
    "mmtl.Resize, mmtl.ResizeEdge, mmtl.CenterCrop, mmtl.Pad, mmtl.RandAugment, mmtl.Rotate, mmtl.Shear, "
    "mmtl.Translate), so that the score map follows the image"
)


def image_hw(results: dict[str, Any]) -> tuple[int, int]:
    """Height and width of the current image: an array HWC or HW, a PIL image, or a tensor CHW."""
    image = results["img"]
    shape = image.shape[-2:] if isinstance(image, torch.Tensor) else np.shape(image)[:2]
    return int(shape[0]), int(shape[1])


def move_view(results: dict[str, Any], input_hw: tuple[int, int], local: np.ndarray) -> None:
    """Records that the image in ``results`` has just been replaced by a moved one.

    Args:
        results: The sample, its ``img`` already the new image.
        input_hw: Size of the image before.
        local: [2, 3], unit square of the new image -> unit square of the image before.
    """
    _note_untracked_size(results, input_hw)
    results["view_affine"] = compose(view_affine(results), local)
    results["view_hw"] = image_hw(results)
    frames = compose(np.stack([*results.get("frame_affines", ()), identity_affine()]), local)
    results["frame_affines"] = frames[_reach_outside(frames)]
    if "erased_affines" in results:  # these point the other way
        results["erased_affines"] = compose(invert(local), results["erased_affines"])


def view_affine(results: dict[str, Any]) -> np.ndarray:
    """The sample's view, [2, 3]; a sample that was never moved shows its whole image."""
    return results.get("view_affine", identity_affine())


def check_view(results: dict[str, Any]) -> None:
    """Raises ValueError when something moved the pixels and did not tell the view.

    A transform that keeps the image's size and leaves no trace in ``results`` cannot be seen: mmpretrain's
    Rotate, for one.
    """
    _note_untracked_size(results, image_hw(results))
    flip = results.get("flip"), results.get("flip_direction")
    if flip != results.get("view_flip", (None, None)):
        results.setdefault("view_problem", "the image went through a RandomFlip that the score map did not see")
    if "view_problem" in results:
        raise ValueError(f"{results['view_problem']} (image {results.get('img_path')!r}); {REMEDY}")


def _reach_outside(affines: np.ndarray) -> np.ndarray:
    """Whether each of [n, 2, 3] places some of its unit square outside the unit square, bool [n]."""
    bounds = box_bounds(affines)
    return ((bounds < -1e-6) | (bounds > 1 + 1e-6)).any(axis=-1)


def _note_untracked_size(results: dict[str, Any], found_hw: tuple[int, int]) -> None:
    """A problem is only noted: a pipeline without a score map may well mix transforms."""
    known = results.get("view_hw", results.get("ori_shape"))
    if known is not None and tuple(known[:2]) != found_hw:
        results.setdefault(
            "view_problem",
            f"a transform that the score map did not see changed the image from {tuple(known[:2])} to "
            f"{found_hw} pixels (height, width)",
        )
