"""Fields of a packed training sample, next to its image and label."""

import numpy as np

#: Types in a batch. Fields are described in :class:`mmtl.datasets.transforms.PackTokenLabelInputs`.
FIELD_TYPES: dict[str, type] = {
    "score_map_scores": np.float16,
    "score_map_classes": np.int32,
    "score_map_log_norm": np.float16,
    "view_affine": np.float32,
    "frame_affines": np.float32,
    "erased_boxes_xyxy": np.float32,
    "augment": np.float32,
}
