from typing import Any

import numpy as np
import torch
from mmpretrain.datasets.transforms import PackInputs

from mmtl.datasets.transforms.draws import take_draws
from mmtl.datasets.transforms.geometry import box_bounds
from mmtl.datasets.transforms.view import NO_FRAMES, check_view, map_view
from mmtl.registry import TRANSFORMS
from mmtl.utils.sample_fields import FIELD_TYPES


@TRANSFORMS.register_module()
class PackTokenLabelInputs(PackInputs):
    """mmpretrain's PackInputs that also packs the score map, the view and the draws for the device.

    A sample with a ``score_map`` gets these fields: ``score_map_scores`` float16 [h, w, k], ``score_map_classes``
    integer [h, w, k], ``score_map_log_norm`` float16 [h, w] (if the map has one), ``view_affine`` [2, 3] to the unit
    square of what the map shows, and, if a warp or a pad added padding or the map does not show the complete image,
    ``frame_affines`` [n, 2, 3]: a position of the network's input is labeled where all of them map it into the unit
    square. A sample without a score map gets ``frame_affines`` only, for an online annotator.

    ``mmtl.RandomErasing(mask_labels=True)`` adds ``erased_boxes_xyxy`` [n, 4] in the unit square of the network's
    input, one box for each such transform, of zero area if it did not erase. A box that was rotated or sheared
    afterwards is given by the upright box around it. Steps with ``on_device=True`` add ``augment`` float32 [L, D],
    see :mod:`mmtl.utils.augment_draws`.

    Args:
        *args: of the parent, as are the keyword arguments: ``input_key``, ``algorithm_keys``, ``meta_keys``.
        data_sample: True packs the fields into a DataSample, as tensors. False leaves them beside ``inputs`` with
            ``gt_label`` and ``img_path``, all that :func:`mmtl.collate_training_batch` reads, in less time.

    Raises:
        ValueError: A transform moved the pixels of a sample with a score map without updating the view, or changed
            the image after a step with ``on_device=True``.
    """

    def __init__(self, *args: Any, data_sample: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.data_sample = data_sample

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack one sample."""
        fields = token_label_fields(results)
        if not self.data_sample:
            packed = {name: results[name] for name in ("gt_label", "gt_score", "img_path") if name in results}
            return {"inputs": self.format_input(results[self.input_key]), **packed, **fields}
        packed = super().transform(results)
        for name, array in fields.items():
            # Copied: a store's arrays are read-only memory maps, which tensors cannot share.
            packed["data_samples"].set_field(torch.from_numpy(np.array(array, FIELD_TYPES[name])), name)
        return packed


def token_label_fields(results: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the fields of a sample that :class:`PackTokenLabelInputs` adds, and make its image writable again."""
    fields = {}
    if (draws := take_draws(results)) is not None:
        fields["augment"] = draws
    if "erased_affines" in results:
        fields["erased_boxes_xyxy"] = box_bounds(results["erased_affines"]).clip(0, 1)
    if "score_map" in results:
        check_view(results)
        score_map = results["score_map"]
        fields |= dict(score_map_scores=score_map.scores, score_map_classes=score_map.classes)
        if score_map.log_norm is not None:
            fields["score_map_log_norm"] = score_map.log_norm
        fields["view_affine"], frames = map_view(results)
    else:
        frames = results.get("frame_affines", NO_FRAMES)
    if len(frames):
        fields["frame_affines"] = frames
    return fields
