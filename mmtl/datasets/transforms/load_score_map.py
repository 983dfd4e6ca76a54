import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcv.transforms import BaseTransform

from mmtl.registry import TRANSFORMS
from mmtl.score_maps import ScoreMap, ScoreMapStore


def score_map_key(img_path: str, image_root: str) -> str:
    """An image's key: its path under ``image_root`` with POSIX slashes and extension.

    Raises:
        ValueError: The image lies outside ``image_root``.
    """
    path, root = (os.path.abspath(os.path.expanduser(place)) for place in (img_path, image_root))
    root = os.path.join(root, "")  # strings: pathlib would cost more than reading the map
    if not path.startswith(root):
        raise ValueError(
            f"image {img_path!r} lies outside image_root {image_root!r}, so it has no key in the score map "
            "store; give LoadScoreMap the folder that the score maps were made from"
        )
    return path[len(root) :].replace(os.sep, "/")


def _folders(store: str | Path | Sequence[str]) -> list[Path]:
    return [Path(folder).expanduser() for folder in ([store] if isinstance(store, str | Path) else store)]


@TRANSFORMS.register_module()
class LoadScoreMap(BaseTransform):
    """Puts the annotator's ``score_map`` of the whole image beside the image; no transform ever touches it.

    The store is opened at the first sample, once in each data-loader process.

    Args:
        store: Folder of a score map store, a list of folders that are read as one, or any mapping from key to
            :class:`mmtl.score_maps.ScoreMap`. None passes every sample through, so that one pipeline serves
            training with and without score maps.
        image_root: Folder that keys are relative to: the one given to ``make_score_maps``.
        missing: What an image without a score map does: ``'error'`` stops, ``'label_only'`` passes the sample
            on with its class label alone.
        num_classes: When given, a store with another class count is refused.

    Required Keys: img_path. Added Keys: score_map.

    Raises:
        FileNotFoundError: The store does not exist.
        ValueError: An image has no map, lies outside ``image_root``, or the class counts differ.
    """

    def __init__(
        self,
        store: str | Sequence[str] | Mapping[str, ScoreMap] | None,
        image_root: str,
        missing: str = "error",
        num_classes: int | None = None,
    ) -> None:
        if missing not in ("error", "label_only"):
            raise ValueError(f"missing={missing!r} is neither 'error' nor 'label_only'")
        self.store = store
        self.image_root = image_root
        self.missing = missing
        self.num_classes = num_classes
        self._opened: Mapping[str, ScoreMap] | None = None

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Adds ``score_map``."""
        if self.store is None:
            return results
        if "img_path" not in results:
            raise ValueError(
                "LoadScoreMap finds a score map by its image's path, and this sample has no 'img_path'; use "
                "a data set of image files, such as mmpretrain's CustomDataset or ImageNet"
            )
        key = score_map_key(results["img_path"], self.image_root)
        try:
            results["score_map"] = self._maps()[key]
        except KeyError as error:
            if self.missing == "error":
                raise ValueError(
                    f"image {key!r} has no map in score map store {self._store_name()} ({error.args[0]}); make the "
                    f"missing maps, check image_root={self.image_root!r}, or set missing='label_only' to train such "
                    "images on their class label alone"
                ) from None
        return results

    def store_num_classes(self) -> int | None:
        """Class count that the store was made for; None without a store or when a mapping does not tell.

        Raises:
            ValueError: It is not ``num_classes``.
        """
        return None if self.store is None else getattr(self._maps(), "num_classes", None)

    def has_map(self, img_path: str) -> bool:
        """Whether the store has an image's map; the image may lie outside of ``image_root``."""
        try:
            return score_map_key(img_path, self.image_root) in self._maps()
        except ValueError:
            return False

    def _maps(self) -> Mapping[str, ScoreMap]:
        if self._opened is None:
            self._opened = self._open()
            found = getattr(self._opened, "num_classes", self.num_classes)
            if self.num_classes is not None and found != self.num_classes:
                raise ValueError(
                    f"score map store {self._store_name()} was made for {found} classes, the pipeline wants "
                    f"{self.num_classes}; point store= to maps of this data set or correct num_classes="
                )
        return self._opened

    def _open(self) -> Mapping[str, ScoreMap]:
        if isinstance(self.store, Mapping):
            return self.store
        folders = _folders(self.store)
        for folder in folders:
            if not folder.exists():
                raise FileNotFoundError(
                    f"score map store {str(folder)!r} does not exist; make it with "
                    "`mim run mmtl make_score_maps CONFIG CHECKPOINT IMAGES STORE`, or set score_maps=None to train "
                    "on class labels alone"
                )
        return ScoreMapStore(folders)

    def _store_name(self) -> str:
        return repr(type(self.store).__name__ if isinstance(self.store, Mapping) else str(self.store))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(store={self._store_name()}, image_root={self.image_root!r}, "
            f"missing={self.missing!r}, num_classes={self.num_classes})"
        )
