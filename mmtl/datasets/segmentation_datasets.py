"""MMSegmentation's data sets, which here name the folder when they find no image."""

from mmseg.datasets import ADE20KDataset as MMSegADE20KDataset
from mmseg.datasets import BaseSegDataset as MMSegBaseSegDataset
from mmseg.datasets import CityscapesDataset as MMSegCityscapesDataset
from mmseg.datasets import PascalVOCDataset as MMSegPascalVOCDataset

from mmtl.datasets.annotation_rules import where_images_are
from mmtl.registry import DATASETS


class RefusesEmptySplit:
    """Mixin: of no image, mmengine makes a ValueError about concatenation, before any hook could say more."""

    def filter_data(self) -> list[dict]:
        """Entries to keep.

        Raises:
            ValueError: There is none.
        """
        entries = super().filter_data()
        if not entries:
            raise ValueError(
                f"the data set is empty: no image in {where_images_are(self)}; correct data_root, data_prefix, "
                "ann_file or img_suffix (`mim run mmtl check_segmentation_data CONFIG` looks at every split)"
            )
        return entries


@DATASETS.register_module()
class BaseSegDataset(RefusesEmptySplit, MMSegBaseSegDataset):
    """MMSegmentation's data set of images and masks in two folders, refused when empty."""


@DATASETS.register_module()
class ADE20KDataset(RefusesEmptySplit, MMSegADE20KDataset):
    """MMSegmentation's ADE20K, refused when empty."""


@DATASETS.register_module()
class CityscapesDataset(RefusesEmptySplit, MMSegCityscapesDataset):
    """MMSegmentation's Cityscapes, refused when empty."""


@DATASETS.register_module()
class PascalVOCDataset(RefusesEmptySplit, MMSegPascalVOCDataset):
    """MMSegmentation's Pascal VOC, refused when empty."""
