from functools import cache
from pathlib import Path

from mmpretrain.datasets import ImageNet
from mmpretrain.datasets.custom import find_folders, get_samples

from mmtl.registry import DATASETS

WNIDS = Path(__file__).with_name("imagenet_wnids.txt")


@DATASETS.register_module()
class ImageNetFolders(ImageNet):
    """Images of some of ImageNet's classes, in folders named by wnid (n01440764) or by class index (0 to 999).

    MMPretrain's ImageNet numbers the folders that it finds, in the order of their names. Here the name says which of
    the 1000 classes a folder holds: ImageNet-A and -R have 200 of them, and ImageNet-V2's "10" is not the third.
    ``metainfo['class_subset']`` lists the classes that are there, for :class:`mmtl.SubsetAccuracy`.

    Args:
        **kwargs: of mmpretrain's ImageNet, such as ``data_root``, ``split`` or ``data_prefix``, ``pipeline``.

    Raises:
        ValueError: A folder's name is no class, or there is no image.
    """

    def _find_samples(self) -> list[tuple[str, int]]:
        folders, _ = find_folders(self.img_prefix)
        labels = class_labels(folders, self.img_prefix)
        samples, empty = get_samples(self.img_prefix, labels, is_valid_file=self.is_valid_file)
        if not samples:
            raise ValueError(f"{self.img_prefix!r} holds no image in folders named by ImageNet class")
        self._metainfo["class_subset"] = tuple(sorted(labels[folder] for folder in folders if folder not in empty))
        return samples


def class_labels(folders: list[str], place: str = "the data set") -> dict[str, int]:
    """Class index of each folder.

    Args:
        folders: names of class folders.
        place: where they are, for messages.

    Raises:
        ValueError: A name is neither a wnid of ImageNet-1k nor an index of 0 to 999.
    """
    known = wnid_labels()
    named = all(folder in known for folder in folders)
    labels = dict(known) if named else {str(index): index for index in range(len(known))}
    strange = [folder for folder in folders if folder not in labels]
    if strange:
        raise ValueError(
            f"{place}: {len(strange)} of {len(folders)} folders name no ImageNet class, such as {strange[0]!r}; "
            "folders named by wnid (n01440764) or by class index (0 to 999), not both, are wanted"
        )
    return {folder: labels[folder] for folder in folders}


@cache
def wnid_labels() -> dict[str, int]:
    """Class index of each wnid of ImageNet-1k."""
    return {wnid: index for index, wnid in enumerate(WNIDS.read_text().split())}
