"""Checks of a training whose patch tokens do not learn from a score map store."""

import logging

from mmengine.logging import print_log
from torch import nn
from torch.utils.data import Dataset

from mmtl.datasets.dataset_parts import transforms_of
from mmtl.datasets.transforms.recoloring import recoloring
from mmtl.engine.hooks.check_classes import check_class_order, classes_of
from mmtl.utils.model_parts import head_of, unwrap_model


def storeless_labels(model: nn.Module) -> str | None:
    """Return what the patch tokens learn from if it is not a score map store, None if it is."""
    preprocessor = getattr(unwrap_model(model), "data_preprocessor", None)
    if getattr(head_of(model), "patch_target", "map") == "label":
        return "the class label (model.head.patch_target='label')"
    if getattr(preprocessor, "annotator_cfg", None) is not None:
        return f"model.annotator ({preprocessor.annotator_cfg['model']})"
    return None


def check_annotator(dataset: Dataset, model: nn.Module) -> None:
    """Check that an online annotator, if there is one, gets images in their original colors, and load it."""
    preprocessor = getattr(unwrap_model(model), "data_preprocessor", None)
    if getattr(preprocessor, "annotator_cfg", None) is None:
        return
    if getattr(head_of(model), "patch_target", "map") == "label":
        raise ValueError(
            "model.annotator needs model.head.patch_target='map', got 'label', which does not use its labels. Remove "
            "one of them."
        )
    if names := sorted(set(recoloring(transforms_of(dataset)))):
        raise ValueError(
            f"{', '.join(names)} must run on the device for model.annotator, which sees images in their original "
            "colors, got steps of the data-loader worker. Set on_device=True in mmtl's RandAugment and RandomErasing, "
            "or label with a score map store."
        )
    if not getattr(head_of(model), "beta", 1.0) and preprocessor.class_target == "label":
        text = "model.head.beta=0 and class_target='label' do not use the labels of model.annotator. Remove it."
        print_log(text, logger="current", level=logging.WARNING)
    annotate = preprocessor.load_annotator()
    check_class_order(f"model.annotator: classes of {annotate.model}", annotate.class_table(), classes_of(dataset))
