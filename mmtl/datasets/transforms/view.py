"""The view of a sample: which part of the original image its current image shows, and whether that is known.

It is in these keys of the results dictionary, written only here except where noted:

- ``view_affine``: float64 [2, 3], unit square of the current image -> unit square of the original.
- ``view_hw``: the image size for which it holds.
- ``frame_affines``: float64 [n, 2, 3], unit square of the current image -> unit squares that must all contain a
  position for it to show the image. A rotation after a crop fills its corners with padding; by the view they would
  show the part of the original image outside the crop.
- ``erased_affines``: float64 [n, 2, 3], unit square of each erased box -> unit square of the current image
  (first set by RandomErasing).
- ``score_map_coverage``: the region of the original image that the score map shows, from LoadScoreMap; see
  :func:`map_view`.
- ``view_flip``: ``flip`` and ``flip_direction`` as mmtl.RandomFlip left them.
- ``view_problem``: what an untracked transform did; an error only once the view is needed.
"""

from typing import Any

import numpy as np
import torch

from mmtl.datasets.transforms.geometry import compose, identity_affine, invert
from mmtl.score_maps.score_map import coverage_box
from mmtl.utils.text import in_line

REMEDY = (
    "Use the transforms of mmtl for everything that moves pixels (mmtl.RandomResizedCrop, mmtl.RandomFlip, "
    "mmtl.Resize, mmtl.ResizeEdge, mmtl.CenterCrop, mmtl.Pad, mmtl.RandAugment, mmtl.Rotate, mmtl.Shear, "
    "mmtl.Translate)."
)


NO_FRAMES = np.zeros((0, 2, 3))


def image_hw(results: dict[str, Any]) -> tuple[int, int]:
    """Return height and width of the current image: an array HWC or HW, a PIL image, or a tensor CHW."""
    image = results["img"]
    if isinstance(image, torch.Tensor):
        return tuple(image.shape[-2:])
    return image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)


def is_bgr8(image: Any) -> bool:
    """Return whether an image may have color operations: BGR of 8 bit, or none of NumPy's arrays."""
    return not isinstance(image, np.ndarray) or (image.dtype == np.uint8 and image.shape[2:] == (3,))


def move_view(results: dict[str, Any], input_hw: tuple[int, int], local: np.ndarray) -> None:
    """Update the view after the image in ``results`` was replaced by a moved one.

    Args:
        results: the sample, its ``img`` already the new image (or still the old one, if the device will move it).
        input_hw: size of the image before.
        local: [2, 3], unit square of the new image -> unit square of the image before.
    """
    _note_untracked_size(results, input_hw)
    results["view_affine"] = compose(view_affine(results), local)
    results["view_hw"] = image_hw(results)
    frames = local[None] if _reaches_outside(local) else NO_FRAMES
    if len(results.get("frame_affines", ())):
        frames = np.concatenate([compose(results["frame_affines"], local), frames])
        frames = frames[[_reaches_outside(frame) for frame in frames]]
    results["frame_affines"] = frames
    if "erased_affines" in results:  # these map in the other direction
        results["erased_affines"] = compose(invert(local), results["erased_affines"])


def view_affine(results: dict[str, Any]) -> np.ndarray:
    """Return the sample's view, [2, 3]; a sample that was never moved shows its complete image."""
    return results.get("view_affine", identity_affine())


def map_view(results: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the view and the frames of a sample with a score map, by the region of the image that the map covers.

    Returns:
        view: [2, 3], unit square of the current image -> unit square of the covered region.
        frames: [n, 2, 3], see ``frame_affines``; positions outside the covered region are outside, too.
    """
    view, frames = view_affine(results), results.get("frame_affines", NO_FRAMES)
    if coverage := results.get("score_map_coverage"):
        x1, y1, x2, y2 = coverage_box(coverage, results["ori_shape"][:2])
        view = compose(np.array([[1, 0, -x1], [0, 1, -y1]]) / [[x2 - x1], [y2 - y1]], view)
        if _reaches_outside(view):
            frames = np.concatenate([frames, view[None]])
    return view, frames


def check_view(results: dict[str, Any]) -> None:
    """Raise ValueError if a transform moved the pixels without updating the view.

    A transform that keeps the image's size and leaves no trace in ``results``, such as mmpretrain's Rotate, is not
    found.
    """
    _note_untracked_size(results, image_hw(results))
    flip = results.get("flip"), results.get("flip_direction")
    if flip != results.get("view_flip", (None, None)):
        results.setdefault("view_problem", "a RandomFlip that does not update view_affine processed the image")
    if "view_problem" in results:
        raise ValueError(f"{in_line(results.get('img_path'))}: {results['view_problem']}. {REMEDY}")


def _reaches_outside(affine: np.ndarray) -> bool:
    """Return whether a map [2, 3] takes part of the unit square outside of it."""
    for a, b, c in affine.tolist():  # plain numbers: NumPy's overhead would be several times the work
        if c + min(a, 0.0) + min(b, 0.0) < -1e-6 or c + max(a, 0.0) + max(b, 0.0) > 1 + 1e-6:
            return True
    return False


def _note_untracked_size(results: dict[str, Any], found_hw: tuple[int, int]) -> None:
    """Note an unexpected size; no error yet, since a pipeline without score maps may mix transforms."""
    known = results.get("view_hw", results.get("ori_shape"))
    if known is not None and tuple(known[:2]) != found_hw:
        results.setdefault(
            "view_problem",
            f"a transform that does not update view_affine changed the image from {tuple(known[:2])} to {found_hw} "
            "pixels (height, width)",
        )
