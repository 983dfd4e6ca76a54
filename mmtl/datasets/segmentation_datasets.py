"""MMSegmentation's datasets with a clear error message when they find no images."""

from mmseg.datasets import ADE20KDataset as MMSegADE20KDataset
from mmseg.datasets import BaseSegDataset as MMSegBaseSegDataset
from mmseg.datasets import CityscapesDataset as MMSegCityscapesDataset
from mmseg.datasets import PascalVOCDataset as MMSegPascalVOCDataset

from mmtl.registry import DATASETS


def image_source(dataset: MMSegBaseSegDataset) -> str:
    """Return the list, or the folder and suffix, by which a dataset finds its images."""
    return dataset.ann_file or f"{dataset.data_prefix.get('img_path')} (files ending in {dataset.img_suffix})"


class NotEmptyMixin:
    """Raise an error for a dataset without images, before mmengine fails with one about concatenation."""

    def filter_data(self) -> list[dict]:
        """Return the entries to keep; at least one."""
        entries = super().filter_data()
        if not entries:
            raise ValueError(
                f"{image_source(self)}: the dataset must contain images, got none. Correct data_root, data_prefix, "
                "ann_file or img_suffix; `mim run mmtl check_segmentation_data CONFIG` checks every split."
            )
        return entries


@DATASETS.register_module()
class BaseSegDataset(NotEmptyMixin, MMSegBaseSegDataset):
    """MMSegmentation's dataset of images and masks in two folders; must not be empty."""


@DATASETS.register_module()
class ADE20KDataset(NotEmptyMixin, MMSegADE20KDataset):
    """MMSegmentation's ADE20K; must not be empty."""


@DATASETS.register_module()
class CityscapesDataset(NotEmptyMixin, MMSegCityscapesDataset):
    """MMSegmentation's Cityscapes; must not be empty."""


@DATASETS.register_module()
class PascalVOCDataset(NotEmptyMixin, MMSegPascalVOCDataset):
    """MMSegmentation's Pascal VOC; must not be empty."""
