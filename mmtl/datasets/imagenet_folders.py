from mmpretrain.datasets import ImageNet
from mmpretrain.datasets.custom import find_folders, get_samples

from mmtl.registry import DATASETS
from mmtl.utils.image_files import IMAGE_SUFFIXES
from mmtl.utils.imagenet_wnids import wnid_labels


@DATASETS.register_module()
class ImageNetFolders(ImageNet):
    """ImageNet images in folders named by wnid (n01440764) or by class index (0 to 999), for any classes.

    MMPretrain's ImageNet numbers the folders it finds in alphabetical order. This dataset takes the class from the
    folder's name, as needed for ImageNet-A and ImageNet-R (200 classes) and for ImageNet-V2 (folder "10" is class 10,
    but third in alphabetical order). ``metainfo['class_subset']`` lists the classes present, for
    :class:`mmtl.SubsetAccuracy`.

    Args:
        **kwargs: arguments of mmpretrain's ImageNet, such as ``data_root``, ``data_prefix``, ``pipeline``.
    """

    IMG_EXTENSIONS = IMAGE_SUFFIXES

    def _find_samples(self) -> list[tuple[str, int]] | list[str]:
        if not self.with_label:
            return super()._find_samples()
        folders, _ = find_folders(self.img_prefix)
        labels = class_labels(folders, self.img_prefix)
        samples, empty = get_samples(self.img_prefix, labels, is_valid_file=self.is_valid_file)
        if not samples:
            raise ValueError(f"{self.img_prefix!r} must contain images in folders named by ImageNet class, got none.")
        self._metainfo["class_subset"] = tuple(sorted(labels[folder] for folder in folders if folder not in empty))
        return samples


def class_labels(folders: list[str], root: str) -> dict[str, int]:
    """Return the class index of each folder name; messages name their ``root``."""
    wnids = wnid_labels()
    by_wnid = all(folder in wnids for folder in folders)
    labels = wnids if by_wnid else {str(index): index for index in range(len(wnids))}
    unknown = [folder for folder in folders if folder not in labels]
    if unknown:
        raise ValueError(
            f"{root}: folders must all be named by wnid (n01440764) or all by class index (0 to 999), "
            f"got {len(unknown)} of {len(folders)} with other names, such as {unknown[0]!r}."
        )
    return {folder: labels[folder] for folder in folders}
