"""Token labels: targets read from score maps, and the loss against them."""

from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.models.token_labels.label_form import gumbel_noise, label_form
from mmtl.models.token_labels.loss import token_label_loss
from mmtl.models.token_labels.score_map_batch import ScoreMapBatch
from mmtl.models.token_labels.targets import TokenTargets, token_targets

__all__ = [
    "BatchTargets",
    "ScoreMapBatch",
    "TokenTargets",
    "gumbel_noise",
    "label_form",
    "token_label_loss",
    "token_targets",
]
