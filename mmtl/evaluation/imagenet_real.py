import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric

from mmtl.registry import METRICS
from mmtl.utils.text import in_line

NUM_IMAGES, NUM_CLASSES = 50_000, 1000
FILE_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")


@METRICS.register_module()
class ImageNetReaL(BaseMetric):
    """Accuracy on the ImageNet validation images by their reassessed labels, of which an image may have several.

    A prediction is correct if it is one of the image's labels. Images without a label do not count. An image is
    identified by its file name (ILSVRC2012_val_00000001.JPEG and so on), in any order or folder.

    Args:
        labels: path of the public ``real.json``, a list of 50,000 lists of class indices in the order of the file
            names.
        topk: for each k, an image counts as correct if one of its labels is among the top-k predictions.
        **kwargs: ``collect_device`` and ``prefix`` of mmengine's BaseMetric.

    Source: Beyer et al., Are we done with ImageNet?, arXiv 2006.07159.
    """

    default_prefix = "real"

    def __init__(self, labels: str | Path, topk: int | Sequence[int] = (1,), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.labels = read_real_labels(Path(labels).expanduser())
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Store the number of each image and its top-k classes."""
        for sample in data_samples:
            top = sample["pred_score"].topk(max(self.topk)).indices
            self.results.append((image_number(sample["img_path"]), top.tolist()))

    def compute_metrics(self, results: list[tuple[int, list[int]]]) -> dict[str, float]:
        """Return the accuracy in percent for each k, and the number of images that count."""
        labeled = [(set(self.labels[number - 1]), top) for number, top in results if self.labels[number - 1]]
        if not labeled:
            raise ValueError(f"None of the {len(results)} images has a label in real.json: nothing to measure.")
        correct = {k: sum(not labels.isdisjoint(top[:k]) for labels, top in labeled) for k in self.topk}
        return {**{f"top{k}": 100 * correct[k] / len(labeled) for k in self.topk}, "images": len(labeled)}


def image_number(img_path: str) -> int:
    """Return the number, from 1, in the name of a validation image."""
    match = FILE_NAME.fullmatch(Path(img_path).name)
    if not match or not 1 <= int(match[1]) <= NUM_IMAGES:
        raise ValueError(
            f"{in_line(img_path)}: the file name must be one of the ImageNet validation set, "
            f"ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_{NUM_IMAGES:08d}.JPEG, for ImageNetReaL."
        )
    return int(match[1])


def read_real_labels(path: Path) -> list[list[int]]:
    """Return the label lists of the validation images, in the order of their numbers; check the file."""
    expected = f"must be the public real.json, {NUM_IMAGES} lists of class indices"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: labels {expected}.")
    try:
        labels = json.loads(path.read_bytes())
    except ValueError as error:  # invalid UTF-8 as well as invalid JSON
        raise ValueError(f"{path} {expected}, got invalid JSON ({error}).") from None
    if not isinstance(labels, list) or len(labels) != NUM_IMAGES:
        found = f"a list of {len(labels)}" if isinstance(labels, list) else f"a {type(labels).__name__}"
        raise ValueError(f"{path} {expected}, got {found}.")
    for number, classes in enumerate(labels, 1):
        # bool is a subclass of int, but not a class index
        if not isinstance(classes, list) or not all(type(c) is int and 0 <= c < NUM_CLASSES for c in classes):
            raise ValueError(
                f"{path}: entry {number} must be a list of classes 0 to {NUM_CLASSES - 1}, got {classes!r}."
            )
    return labels
