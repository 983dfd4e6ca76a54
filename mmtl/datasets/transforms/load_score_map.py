import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcv.transforms import BaseTransform

from mmtl.registry import TRANSFORMS
from mmtl.score_maps import ScoreMap, ScoreMapStore
from mmtl.score_maps.class_table import ClassTable
from mmtl.utils.text import in_line


def score_map_key(img_path: str, image_root: str) -> str:
    """Return an image's key: its path below ``image_root`` with POSIX slashes and extension.

    Raises:
        ValueError: The image is not below ``image_root``.
    """
    path, root = (os.path.abspath(os.path.expanduser(name)) for name in (img_path, image_root))
    root = os.path.join(root, "")  # strings: pathlib would take longer than reading the map
    if not path.startswith(root):
        raise ValueError(
            f"{in_line(img_path)}: the image must be below image_root={image_root!r} to have a key in the score map "
            "store. Set image_root of LoadScoreMap to the folder that the score maps were made from."
        )
    return path[len(root) :].replace(os.sep, "/")


@TRANSFORMS.register_module()
class LoadScoreMap(BaseTransform):
    """Add the annotator's ``score_map`` of the image; no transform changes it.

    The store is opened at the first sample, once in each data-loader process.

    Args:
        store: folder of a score map store, a list of folders that are read as one, or any mapping from key to
            :class:`mmtl.score_maps.ScoreMap`. None leaves every sample as it is, so that one pipeline serves
            training with and without score maps.
        image_root: folder that keys are relative to: the one given to ``make_score_maps``. None finds it from the
            first image with a map: it is the folder above the image below which the store knows the image.
        missing: 'error' raises for an image without a score map, 'label_only' trains it on its class label only.
        num_classes: if given, a store with another number of classes is refused.

    Required Keys: img_path. Added Keys: score_map, and score_map_coverage if it does not show the complete image.

    Raises:
        FileNotFoundError: The store does not exist.
        ValueError: An image has no map or is not below ``image_root``, or the numbers of classes differ.
    """

    def __init__(
        self,
        store: str | Sequence[str] | Mapping[str, ScoreMap] | None,
        image_root: str | None = None,
        missing: str = "error",
        num_classes: int | None = None,
    ) -> None:
        if missing not in ("error", "label_only"):
            raise ValueError(f"missing must be 'error' or 'label_only', got {missing!r}.")
        self.store = store
        self.image_root = image_root
        self.missing = missing
        self.num_classes = num_classes
        self._opened: Mapping[str, ScoreMap] | None = None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``score_map`` and its coverage."""
        if self.store is None:
            return results
        if "img_path" not in results:
            raise ValueError(
                "LoadScoreMap needs the key 'img_path' to find a score map, and this sample has none. Use a dataset "
                "of image files, such as mmpretrain's CustomDataset or ImageNet."
            )
        key = self._key(results["img_path"])
        try:
            maps = self._maps()
            results["score_map"] = maps[key]
            if (coverage := getattr(maps, "coverage", "whole")) != "whole":
                results["score_map_coverage"] = coverage
        except KeyError:
            if self.missing == "error":
                raise ValueError(
                    f"{in_line(key)}: score map store {self._store_name()} has no map of this image. Make the "
                    f"missing maps, check image_root={self.image_root!r}, or set missing='label_only' to train such "
                    "images on their class label only."
                ) from None
        return results

    def store_num_classes(self) -> int | None:
        """Return the number of classes of the store; None without a store or if a mapping has no such attribute.

        Raises:
            ValueError: It is not ``num_classes``.
        """
        return None if self.store is None else getattr(self._maps(), "num_classes", None)

    def class_table(self) -> ClassTable | None:
        """Return the table of the store's classes; None without a store or if a mapping does not describe them."""
        maps = None if self.store is None else self._maps()
        return ClassTable.of(maps.annotator, maps.num_classes) if isinstance(maps, ScoreMapStore) else None

    def num_missing(self) -> int:
        """Return the number of maps in shards that are not in the store's folder."""
        return getattr(self._maps(), "num_missing", 0)

    def has_map(self, img_path: str) -> bool:
        """Return whether the store has a map of an image; False if it is not below ``image_root``."""
        try:
            return self._key(img_path) in self._maps()
        except ValueError:
            return False

    def _key(self, img_path: str) -> str:
        """Return an image's key; without an ``image_root`` the longest end of its path that is a key sets it."""
        if self.image_root is not None:
            return score_map_key(img_path, self.image_root)
        folders = os.path.abspath(os.path.expanduser(img_path)).split(os.sep)
        for depth in range(1, len(folders)):
            key = "/".join(folders[depth:])
            if key in self._maps():
                self.image_root = os.sep.join(folders[:depth]) or os.sep
                return key
        return img_path

    def _maps(self) -> Mapping[str, ScoreMap]:
        if self._opened is None:
            self._opened = self._open()
            found = getattr(self._opened, "num_classes", self.num_classes)
            if self.num_classes is not None and found != self.num_classes:
                raise ValueError(
                    f"Score map store {self._store_name()} must have {self.num_classes} classes, got {found}. Set "
                    "store= to maps of this dataset (`mmtl make_score_maps --classes` makes those of a part of the "
                    "annotator's classes), or correct num_classes."
                )
        return self._opened

    def _open(self) -> Mapping[str, ScoreMap]:
        if isinstance(self.store, Mapping):
            return self.store
        stores = [self.store] if isinstance(self.store, str | Path) else self.store
        folders = [Path(folder).expanduser() for folder in stores]
        for folder in folders:
            if not folder.exists():
                raise FileNotFoundError(
                    f"Score map store {str(folder)!r} does not exist. Make it with "
                    "`mmtl make_score_maps CONFIG CHECKPOINT IMAGES STORE`, or set score_maps=None to train "
                    "on class labels only."
                )
        return ScoreMapStore(folders)

    def _store_name(self) -> str:
        return repr(type(self.store).__name__ if isinstance(self.store, Mapping) else str(self.store))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(store={self._store_name()}, image_root={self.image_root!r}, "
            f"missing={self.missing!r}, num_classes={self.num_classes})"
        )
