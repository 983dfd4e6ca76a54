from typing import Any

import numpy as np
import torch
from mmpretrain.datasets.transforms import PackInputs

from mmtl.datasets.transforms.geometry import box_bounds
from mmtl.datasets.transforms.view import check_view, view_affine
from mmtl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackTokenLabelInputs(PackInputs):
    """mmpretrain's PackInputs that takes the score map and the view along.

    A sample with a ``score_map`` gets these data fields: ``score_map_scores`` float16 [h, w, k],
    ``score_map_classes`` int32 [h, w, k], ``score_map_log_norm`` float16 [h, w] (when the annotator gave it)
    ``view_affine`` float32 [2, 3], and, when a warp or a pad left places without picture, ``frame_affines`` float32
    [n, 2, 3]: a place of the network's input shows picture where all of them put it into the unit square. Without
    a score map it packs what PackInputs packs.

    ``mmtl.RandomErasing(mask_labels=True)`` adds ``erased_boxes_xyxy`` float32 [n, 4] in the unit square of
    the network's input, one box for each such transform, of zero area when it did not erase. A box that was
    turned or sheared afterwards is given by the upright box around it.

    Args:
        *args: Of the parent, as are the keyword arguments: ``input_key``, ``algorithm_keys``, ``meta_keys``.

    Raises:
        ValueError: A transform moved the pixels of a sample with a score map and did not tell the view.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Packs one sample."""
        packed = super().transform(results)
        sample = packed["data_samples"]
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
    """A copy: a store's arrays are read-only memory maps, which tensors cannot share."""
    return torch.from_numpy(np.array(array, dtype=dtype))
