"""MMSegmentation's datasets for folders as people have them, and for mmengine's ClassBalancedDataset."""

import os

import numpy as np
from mmcv.transforms import LoadAnnotations
from mmengine import list_from_file
from mmseg.datasets import ADE20KDataset as MMSegADE20KDataset
from mmseg.datasets import BaseSegDataset as MMSegBaseSegDataset
from mmseg.datasets import CityscapesDataset as MMSegCityscapesDataset
from mmseg.datasets import PascalVOCDataset as MMSegPascalVOCDataset

from mmtl.datasets.dataset_parts import transforms_of
from mmtl.registry import DATASETS, TRANSFORMS
from mmtl.utils.class_colors import class_palette
from mmtl.utils.image_files import is_hidden


def image_source(dataset: MMSegBaseSegDataset) -> str:
    """Return the list, or the folder and suffix, by which a dataset finds its images."""
    return dataset.ann_file or f"{dataset.data_prefix.get('img_path')} (files ending in {dataset.img_suffix})"


class FolderMixin:
    """Leave hidden files out, know the classes of an image, and raise an error for a dataset without images.

    A palette is optional: without one, classes have the colors that figures give them.
    """

    def _update_palette(self) -> list:
        classes, palette = (self._metainfo.get(name) or () for name in ("classes", "palette"))
        if not palette:
            return class_palette(len(classes)).tolist()
        if len(palette) != len(classes) and not (self.label_map and len(palette) > len(classes)):
            raise ValueError(
                f"metainfo.palette must have {len(classes)} colors, one for each class, got {len(palette)}. Correct "
                "it, or leave the palette out."
            )
        return super()._update_palette()

    def load_data_list(self) -> list[dict]:
        """Return the entries without hidden files and folders, such as those of ``.ipynb_checkpoints``."""
        entries, root = super().load_data_list(), self.data_prefix.get("img_path") or ""
        if self.ann_file:
            return entries
        return [entry for entry in entries if not is_hidden(os.path.relpath(entry["img_path"], root))]

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the classes of an annotation, which is read once, for mmengine's ClassBalancedDataset."""
        known = vars(self).setdefault("_cat_ids", {})
        if idx not in known:
            loads = (step for step in transforms_of(self) if isinstance(step, LoadAnnotations))
            load = next(loads, None) or TRANSFORMS.build(dict(type="mmseg.LoadAnnotations"))
            labels = np.unique(load(self.get_data_info(idx))["gt_seg_map"]).tolist()
            known[idx] = [label for label in labels if label < len(self.metainfo["classes"])]
        return known[idx]

    def filter_data(self) -> list[dict]:
        """Return the entries to keep; at least one."""
        entries = super().filter_data()
        if not entries:
            raise ValueError(
                f"{image_source(self)}: the dataset must contain images, got none. Correct data_root, data_prefix, "
                "ann_file or img_suffix; `mmtl check_segmentation_data CONFIG` checks every split."
            )
        return entries


@DATASETS.register_module()
class BaseSegDataset(FolderMixin, MMSegBaseSegDataset):
    """MMSegmentation's dataset of images and masks in two folders; must not be empty.

    A line of ``ann_file`` may be an image and its mask, with a tab between: files of any names and suffixes.
    """

    def load_data_list(self) -> list[dict]:
        """Return the entries, of a list of pairs if ``ann_file`` is one."""
        lines = list_from_file(self.ann_file, encoding="utf-8") if self.ann_file else []
        if not lines or any("\t" not in line for line in lines):
            return super().load_data_list()
        prefixes = [self.data_prefix.get(name) or "" for name in ("img_path", "seg_map_path")]
        common = dict(label_map=self.label_map, reduce_zero_label=self.reduce_zero_label)
        pairs = [map(os.path.join, prefixes, line.split("\t")) for line in lines]
        return [dict(img_path=image, seg_map_path=mask, **common, seg_fields=[]) for image, mask in pairs]


@DATASETS.register_module()
class ADE20KDataset(FolderMixin, MMSegADE20KDataset):
    """MMSegmentation's ADE20K; must not be empty."""


@DATASETS.register_module()
class CityscapesDataset(FolderMixin, MMSegCityscapesDataset):
    """MMSegmentation's Cityscapes; must not be empty."""


@DATASETS.register_module()
class PascalVOCDataset(FolderMixin, MMSegPascalVOCDataset):
    """MMSegmentation's Pascal VOC; must not be empty."""
