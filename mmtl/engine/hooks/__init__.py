from mmtl.engine.hooks.check_annotations import CheckAnnotationsHook
from mmtl.engine.hooks.check_inputs import CheckInputsHook
from mmtl.engine.hooks.check_settings import CheckSettingsHook
from mmtl.engine.hooks.checkpoint import CheckpointHook
from mmtl.engine.hooks.compile import CompileHook
from mmtl.engine.hooks.confusion_matrix import ConfusionMatrixHook
from mmtl.engine.hooks.count_skipped_images import CountSkippedImagesHook
from mmtl.engine.hooks.exact_resume import ExactResumeHook
from mmtl.engine.hooks.finite_loss import FiniteLossHook
from mmtl.engine.hooks.iter_timer import IterTimerHook
from mmtl.engine.hooks.pretrained_weights import PretrainedWeightsHook
from mmtl.engine.hooks.run_summary import RunSummaryHook
from mmtl.engine.hooks.runtime_info import RuntimeInfoHook
from mmtl.engine.hooks.scaled_ema import ScaledEMAHook, scaled_momentum
from mmtl.engine.hooks.seg_visualization import SegVisualizationHook
from mmtl.engine.hooks.token_label_visualization import TokenLabelVisualizationHook
from mmtl.engine.hooks.without_score_maps import WithoutScoreMapsHook
from mmtl.engine.hooks.worst_images import WorstImagesHook

__all__ = [
    "CheckAnnotationsHook",
    "CheckInputsHook",
    "CheckSettingsHook",
    "CheckpointHook",
    "CompileHook",
    "ConfusionMatrixHook",
    "CountSkippedImagesHook",
    "ExactResumeHook",
    "FiniteLossHook",
    "IterTimerHook",
    "PretrainedWeightsHook",
    "RunSummaryHook",
    "RuntimeInfoHook",
    "ScaledEMAHook",
    "SegVisualizationHook",
    "TokenLabelVisualizationHook",
    "WithoutScoreMapsHook",
    "WorstImagesHook",
    "scaled_momentum",
]
