from mmtl.hooks.check_annotations import CheckAnnotationsHook
from mmtl.hooks.check_inputs import CheckInputsHook
from mmtl.hooks.checkpoint import CheckpointHook
from mmtl.hooks.confusion_matrix import ConfusionMatrixHook
from mmtl.hooks.count_skipped_images import CountSkippedImagesHook
from mmtl.hooks.exact_resume import ExactResumeHook
from mmtl.hooks.iter_timer import IterTimerHook
from mmtl.hooks.no_vis_backend import NoVisBackend
from mmtl.hooks.pretrained_weights import PretrainedWeightsHook
from mmtl.hooks.scaled_ema import ScaledEMAHook, scaled_momentum
from mmtl.hooks.token_label_visualization import TokenLabelVisualizationHook
from mmtl.hooks.without_score_maps import WithoutScoreMapsHook

__all__ = [
    "CheckAnnotationsHook",
    "CheckInputsHook",
    "CheckpointHook",
    "ConfusionMatrixHook",
    "CountSkippedImagesHook",
    "ExactResumeHook",
    "IterTimerHook",
    "NoVisBackend",
    "PretrainedWeightsHook",
    "ScaledEMAHook",
    "TokenLabelVisualizationHook",
    "WithoutScoreMapsHook",
    "scaled_momentum",
]
