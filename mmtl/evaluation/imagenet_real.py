import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric

from mmtl.registry import METRICS

NUM_IMAGES, NUM_CLASSES = 50_000, 1000
FILE_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")


@METRICS.register_module()
class ImageNetReaL(BaseMetric):
    """Accuracy on the ImageNet validation images by their reassessed labels, of which an image may have several.

    A prediction is right when it is one of the image's labels. Images without a label are left out. An image is
    known by its file name (ILSVRC2012_val_00000001.JPEG and so on), whatever the order or folder.

    Args:
        labels: path of the public ``real.json``, a list of 50,000 lists of class indices in the order of the file
            names.
        topk: for each k, an image counts as right when one of its labels is among the k best predictions.
        collect_device: see mmengine's BaseMetric.
        prefix: see mmengine's BaseMetric.

    Raises:
        FileNotFoundError: ``labels`` does not exist.
        ValueError: ``labels`` is not such a list, or a predicted image is not one of the validation set.

    Source: Beyer et al., Are we done with ImageNet?, arXiv 2006.07159.
    """

    default_prefix = "real"

    def __init__(
        self,
        labels: str | Path,
        topk: int | Sequence[int] = (1,),
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.labels = read_real_labels(Path(labels).expanduser())
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the number of each image and its best classes.

        Args:
            data_batch: not used.
            data_samples: predictions with ``pred_score`` [K] and ``img_path``.
        """
        for sample in data_samples:
            best = sample["pred_score"].topk(max(self.topk)).indices
            self.results.append((image_number(sample["img_path"]), best.tolist()))

    def compute_metrics(self, results: list[tuple[int, list[int]]]) -> dict[str, float]:
        """Accuracy in percent for each k, and the number of images that it was taken over.

        Args:
            results: number (from 1) and best classes of each image.
        """
        judged = [(set(self.labels[number - 1]), best) for number, best in results if self.labels[number - 1]]
        if not judged:
            raise ValueError(f"none of the {len(results)} images has a label in real.json: nothing to measure")
        right = {k: sum(not labels.isdisjoint(best[:k]) for labels, best in judged) for k in self.topk}
        return {**{f"top{k}": 100 * right[k] / len(judged) for k in self.topk}, "images": len(judged)}


def image_number(img_path: str) -> int:
    """The number, from 1, in the name of a validation image.

    Raises:
        ValueError: The name is not one of the ImageNet validation set.
    """
    match = FILE_NAME.fullmatch(Path(img_path).name)
    if not match or not 1 <= int(match[1]) <= NUM_IMAGES:
        raise ValueError(
            f"{img_path!r} is no ImageNet validation image: ImageNetReaL wants files named "
            f"ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_{NUM_IMAGES:08d}.JPEG"
        )
    return int(match[1])


def read_real_labels(path: Path) -> list[list[int]]:
    """The label lists of the validation images, in the order of their numbers.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file holds anything but 50,000 lists of classes 0 to 999.
    """
    wanted = f"the public real.json, {NUM_IMAGES} lists of class indices, is wanted"
    if not path.is_file():
        raise FileNotFoundError(f"labels={str(path)!r} does not exist: {wanted}")
    try:
        labels = json.loads(path.read_bytes())
    except ValueError as error:  # broken text as well as broken JSON
        raise ValueError(f"{path} is no JSON file ({error}): {wanted}") from None
    if not isinstance(labels, list) or len(labels) != NUM_IMAGES:
        found = f"a list of {len(labels)}" if isinstance(labels, list) else f"a {type(labels).__name__}"
        raise ValueError(f"{path} holds {found}: {wanted}")
    for number, classes in enumerate(labels, 1):
        # bool is an int to Python, but no class index
        good = isinstance(classes, list) and all(type(c) is int and 0 <= c < NUM_CLASSES for c in classes)
        if not good:
            raise ValueError(f"{path}: entry {number} is {classes!r}, no list of classes 0 to {NUM_CLASSES - 1}")
    return labels
