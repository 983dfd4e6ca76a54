from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from mmtl.registry import METRICS


@METRICS.register_module()
class HeadAccuracy(BaseMetric):
    """Top-1 accuracy in percent of each classifier of :class:`mmtl.TokenLabelHead`; Accuracy measures their sum.

    Reports ``accuracy/class_token`` and, where the patch classifier is trained or used, ``accuracy/patch_tokens`` (the
    largest logit of all patches).
    """

    default_prefix = "accuracy"

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compare the labels of a batch."""
        for sample in data_samples:
            names = [name for name in ("class_token", "patch_tokens") if f"{name}_label" in sample]
            self.results.append({name: sample[f"{name}_label"].cpu() == sample["gt_label"].cpu() for name in names})

    def compute_metrics(self, results: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        """Average over the images."""
        return {name: 100.0 * torch.cat([r[name] for r in results]).float().mean().item() for name in results[0]}
