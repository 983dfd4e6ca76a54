from typing import Any

import numpy as np
import torch
from mmpretrain.datasets.transforms import PackInputs

from mmtl.datasets.transforms.draws import take_draws
from mmtl.datasets.transforms.geometry import box_bounds
from mmtl.datasets.transforms.view import check_view, view_affine
from mmtl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackTokenLabelInputs(PackInputs):
    """mmpretrain's PackInputs that also packs the score map, the view and the draws for the device.

    A sample with a ``score_map`` gets these data fields: ``score_map_scores`` float16 [h, w, k],
    ``score_map_classes`` int32 [h, w, k], ``score_map_log_norm`` float16 [h, w] (if the map has one),
    ``view_affine`` float32 [2, 3], and, if a warp or a pad added padding, ``frame_affines`` float32 [n, 2, 3]: a
    position of the network's input shows the image where all of them map it into the unit square. A sample without
    a score map is packed as PackInputs packs it.

    ``mmtl.RandomErasing(mask_labels=True)`` adds ``erased_boxes_xyxy`` float32 [n, 4] in the unit square of
    the network's input, one box for each such transform, of zero area if it did not erase. A box that was
    rotated or sheared afterwards is given by the upright box around it. Steps with ``on_device=True`` add
    ``augment`` float32 [L, D], see :mod:`mmtl.utils.augment_draws`.

    Args:
        *args: of the parent, as are the keyword arguments: ``input_key``, ``algorithm_keys``, ``meta_keys``.

    Raises:
        ValueError: A transform moved the pixels of a sample with a score map without updating the view, or changed
            the image after a step with ``on_device=True``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack one sample."""
        draws = take_draws(results)
        packed = super().transform(results)
        sample = packed["data_samples"]
        if draws is not None:
            sample.augment = torch.from_numpy(draws)
        if "erased_affines" in results:
            sample.erased_boxes_xyxy = _tensor(box_bounds(results["erased_affines"]).clip(0, 1), np.float32)
        if "score_map" not in results:
            return packed
        check_view(results)
        score_map = results["score_map"]
        sample.score_map_scores = _tensor(score_map.scores, np.float16)
        sample.score_map_classes = _tensor(score_map.classes, np.int32)
        if score_map.log_norm is not None:
            sample.score_map_log_norm = _tensor(score_map.log_norm, np.float16)
        sample.view_affine = _tensor(view_affine(results), np.float32)
        if len(results.get("frame_affines", ())):
            sample.frame_affines = _tensor(results["frame_affines"], np.float32)
        return packed


def _tensor(array: np.ndarray, dtype: type) -> torch.Tensor:
    """Copy an array: a store's arrays are read-only memory maps, which tensors cannot share."""
    return torch.from_numpy(np.array(array, dtype=dtype))
