from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.evaluation import Accuracy
from torch import Tensor

from mmtl.registry import METRICS


@METRICS.register_module()
class SubsetAccuracy(Accuracy):
    """MMPretrain's Accuracy of a classifier whose choice is restricted to the classes of the dataset.

    ImageNet-A and -R have 200 of the 1000 classes and are measured so. The dataset lists its classes in
    ``metainfo['class_subset']``, as :class:`mmtl.ImageNetFolders` does.
    """

    default_prefix = "accuracy"

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Store the scores within the subset."""
        subset = (self.dataset_meta or {}).get("class_subset")
        if not subset:
            raise ValueError(
                f"metainfo['class_subset'] of the dataset must list its classes for SubsetAccuracy, got {subset}. Use "
                "test_dataloader.dataset.type=mmtl.ImageNetFolders."
            )
        restricted = [{**sample, "pred_score": within_subset(sample["pred_score"], subset)} for sample in data_samples]
        super().process(data_batch, restricted)


def within_subset(scores: Tensor, subset: Sequence[int]) -> Tensor:
    """Return scores [K] with those outside the subset at minus infinity."""
    if max(subset) >= len(scores):
        raise ValueError(
            f"class_subset of the dataset must be below {len(scores)}, the model's number of classes, got "
            f"{max(subset)}. Use a model of the same class list."
        )
    index = torch.as_tensor(subset, device=scores.device)
    return torch.full_like(scores, -torch.inf).index_copy(0, index, scores[index])
