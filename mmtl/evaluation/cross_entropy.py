from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric

from mmtl.registry import METRICS


@METRICS.register_module()
class CrossEntropy(BaseMetric):
    """The validation loss: mean cross-entropy of the images of a classifier, or of the labeled pixels of a segmentor.

    Reports ``loss/cross_entropy``. Of a segmentor with one output per class.

    Args:
        ignore_index: label of the pixels that do not count.
        **kwargs: arguments of the parent.
    """

    default_prefix = "loss"

    def __init__(self, ignore_index: int = 255, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_index = ignore_index

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Sum the cross-entropy of each image and count its labels."""
        for sample in data_samples:
            if "pred_score" in sample:
                label = sample["gt_label"].to(sample["pred_score"].device)
                loss = F.nll_loss(sample["pred_score"].log()[None], label.reshape(1))
                self.results.append((loss.item(), 1))
            else:
                logits = sample["seg_logits"]["data"][None]  # [1, K, H, W]
                labels = sample["gt_sem_seg"]["data"].to(logits.device)  # [1, H, W]
                loss = F.cross_entropy(logits, labels.long(), ignore_index=self.ignore_index, reduction="sum")
                self.results.append((loss.item(), int((labels != self.ignore_index).sum())))

    def compute_metrics(self, results: list[tuple[float, int]]) -> dict[str, float]:
        """Average over all labels."""
        losses, counts = torch.tensor(results, dtype=torch.float64).sum(dim=0).tolist()
        return dict(cross_entropy=losses / max(counts, 1))
