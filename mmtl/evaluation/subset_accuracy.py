from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.evaluation import Accuracy
from torch import Tensor

from mmtl.registry import METRICS


@METRICS.register_module()
class SubsetAccuracy(Accuracy):
    """MMPretrain's Accuracy of a classifier whose choice is restricted to the classes that the data set has.

    ImageNet-A and -R have 200 of the 1000 classes and are measured so. The data set names its classes in
    ``metainfo['class_subset']``, as :class:`mmtl.ImageNetFolders` does.

    Args:
        topk: as the parent's.
        **kwargs: of the parent.

    Raises:
        ValueError: The data set names no classes, or classes that the model does not have.
    """

    default_prefix = "accuracy"

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the scores within the subset.

        Args:
            data_batch: not used.
            data_samples: predictions with ``pred_score`` [K] and ``gt_label``.
        """
        subset = (self.dataset_meta or {}).get("class_subset")
        if not subset:
            raise ValueError(
                "SubsetAccuracy wants a data set that names its classes in metainfo['class_subset']; use "
                "test_dataloader.dataset.type=mmtl.ImageNetFolders"
            )
        restricted = [{**sample, "pred_score": within_subset(sample["pred_score"], subset)} for sample in data_samples]
        super().process(data_batch, restricted)


def within_subset(scores: Tensor, subset: Sequence[int]) -> Tensor:
    """Scores [K] with those outside the subset at minus infinity.

    Raises:
        ValueError: The subset names a class that has no score.
    """
    if max(subset) >= len(scores):
        raise ValueError(
            f"the data set names class {max(subset)}, the model has {len(scores)} classes; the subset is of "
            "another class list than the model's"
        )
    index = torch.as_tensor(subset, device=scores.device)
    return torch.full_like(scores, -torch.inf).index_copy(0, index, scores[index])
