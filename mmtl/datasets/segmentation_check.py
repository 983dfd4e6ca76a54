"""Whether images and annotations of a segmentation data set fit: each pair read as training reads it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image

from mmtl.utils.image_files import IMAGE_SUFFIXES

INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16B")  # Pillow's names for one channel of numbers
LABELS = 256  # MMSegmentation reads annotations as 8 bit


class Problem(NamedTuple):
    """What is wrong with one file, and the kind of fault it is counted under."""

    kind: str
    text: str


def restore_sides(labels: np.ndarray, image_hw: tuple[int, int] | None) -> np.ndarray:
    """Labels [H, W] of an image of one row or column: MMSegmentation's loading drops such a side."""
    if image_hw is not None and labels.ndim < 2 and labels.size == math.prod(image_hw):
        return labels.reshape(image_hw)
    return labels


class PairReport(NamedTuple):
    """What was seen in one pair: int64 [256] pixels of each label as the loss sees it (None: unread), and problems."""

    pixels: np.ndarray | None
    problems: list[Problem]


@dataclass(frozen=True)
class PairCheck:
    """Reads one pair and says what is wrong with it. It travels to other processes.

    Attributes:
        num_classes: K; labels 0 to K - 1 are known.
        ignore_index: label without a class.
        load_image: the pipeline's own transform.
        load_labels: the pipeline's own transform, which applies reduce_zero_label and the label map; None where the
            pipeline has none.
    """

    num_classes: int
    ignore_index: int
    load_image: BaseTransform
    load_labels: BaseTransform | None

    def __call__(self, pair: Mapping) -> PairReport:
        """Look at one entry of a data set's list."""
        problems: list[Problem] = []
        image_hw = self._image_hw(pair, problems)
        labels = None
        if self.load_labels is not None and "seg_map_path" in pair:
            labels = self._labels(pair, problems)
        if labels is None:
            return PairReport(None, problems)
        path = pair["seg_map_path"]
        labels = restore_sides(labels, image_hw)
        if image_hw is not None and labels.shape != image_hw:
            sizes = (" x ".join(map(str, hw)) for hw in (labels.shape, image_hw))
            problems.append(Problem("sizes differ", "{}: {} pixels (H x W), its image {}".format(path, *sizes)))
        pixels = np.bincount(labels.ravel(), minlength=LABELS)
        if wrong := self._wrong_labels(pixels, pair):
            problems.append(Problem("label outside the classes", f"{path}: {wrong}"))
        return PairReport(pixels, problems)

    def _image_hw(self, pair: Mapping, problems: list[Problem]) -> tuple[int, int] | None:
        path = Path(pair["img_path"])
        if not path.is_file():
            problems.append(Problem("no image", f"{path} does not exist"))
            return None
        try:
            whole(path)
            return self.load_image(dict(pair))["img"].shape[:2]
        except Exception as error:  # decoders raise whatever they like on damaged files
            problems.append(Problem("unreadable image", f"{path}: {error}"))
            return None

    def _labels(self, pair: Mapping, problems: list[Problem]) -> np.ndarray | None:
        path = Path(pair["seg_map_path"])
        if not path.is_file():
            problems.append(Problem("no annotation", f"{pair['img_path']} has no {path}"))
            return None
        try:
            mode, highest = whole(path), highest_beyond_8_bit(path)
            if mode not in INDEX_MODES:
                text = f"{path}: a picture of mode {mode}; wanted is one channel of class indices"
                problems.append(Problem("annotation in colours", text))
                return None
            if highest >= LABELS:
                text = f"{path}: values up to {highest}; MMSegmentation reads the lower 8 bits alone"
                problems.append(Problem("label outside the classes", text))
                return None
            return self.load_labels(dict(pair, seg_fields=[]))["gt_seg_map"]
        except Exception as error:
            problems.append(Problem("unreadable annotation", f"{path}: {error}"))
            return None

    def _wrong_labels(self, pixels: np.ndarray, pair: Mapping) -> str:
        wrong = [label for label in np.flatnonzero(pixels) if label >= self.num_classes and label != self.ignore_index]
        if not wrong:
            return ""
        shift = int(bool(pair.get("reduce_zero_label")))
        named = ", ".join(f"{label + shift} ({pixels[label]} pixels)" for label in wrong[:5])
        known = f"{shift} to {self.num_classes - 1 + shift}" + (", 0" if shift else "") + f" and {self.ignore_index}"
        return f"label {named}{' and more' if len(wrong) > 5 else ''}; known are {known}"


def whole(path: Path) -> str:
    """Decode a file to its end, as OpenCV 4 does not; its Pillow mode."""
    with Image.open(path) as picture:
        picture.load()
        return picture.mode


def highest_beyond_8_bit(path: str | Path) -> int:
    """The highest value of a picture of 16 or 32 bit, which is decoded for it; 0 for others."""
    with Image.open(path) as picture:
        return int(picture.getextrema()[1]) if picture.mode.startswith("I") else 0


@dataclass
class Split:
    """One data set of a config and what was found in it.

    Attributes:
        name: 'train', 'val', 'test', or two of them that read the same files.
        classes: names, as the data set gives them.
        pairs: entries of the data set's list.
        check: what looks at a pair.
        problems: found so far.
        pixels: int64 [256], pixels of each label over all pairs.
        images: int64 [256], number of annotations in which each label occurs.
    """

    name: str
    classes: Sequence[str] = ()
    pairs: list[dict] = field(default_factory=list)
    check: PairCheck | None = None
    problems: list[Problem] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(LABELS, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(LABELS, np.int64))

    def add(self, report: PairReport) -> None:
        """Take up what was seen in one pair."""
        self.problems += report.problems
        if report.pixels is not None:
            self.pixels += report.pixels
            self.images += report.pixels > 0


def read_splits(cfg: Mapping) -> list[Split]:
    """The data sets of a config, once each, with their lists of pairs.

    Raises:
        ValueError: The config has no data set.
    """
    named: list[tuple[str, Mapping]] = []
    for name in ("train", "val", "test"):
        loader = cfg.get(f"{name}_dataloader")
        for dataset in unwrap(loader["dataset"]) if loader else ():
            same = [i for i, (_, other) in enumerate(named) if other == dataset]
            if same:
                named[same[0]] = (f"{named[same[0]][0]}, {name}", dataset)
            else:
                named.append((name, dataset))
    if not named:
        raise ValueError("the config has no train_, val_ or test_dataloader; give a segmentation config")
    return [read_split(name, dataset, head_of(cfg)) for name, dataset in named]


def unwrap(dataset: Mapping) -> list[Mapping]:
    """The data sets inside wrappers that repeat or join them."""
    inner = dataset.get("datasets") or [dataset[key] for key in ("dataset",) if key in dataset]
    return [leaf for each in inner for leaf in unwrap(each)] if inner else [dataset]


def head_of(cfg: Mapping) -> Mapping:
    """Config of the decode head, the last of a cascade; empty without a model."""
    head = (cfg.get("model") or {}).get("decode_head") or {}
    return head[-1] if isinstance(head, Sequence) else head


def read_split(name: str, cfg: Mapping, head: Mapping) -> Split:
    """List the pairs of one data set and the faults that show without opening a file."""
    split = Split(name)
    try:
        dataset = DATASETS.build({**cfg, "pipeline": [], "lazy_init": True})
        split.pairs = dataset.load_data_list()
    except (OSError, AssertionError, ValueError) as error:  # MMSegmentation's data sets assert without a message
        places = {key: cfg.get(key) for key in ("data_root", "data_prefix", "ann_file") if cfg.get(key)}
        split.problems.append(Problem("cannot be opened", f"{name}: {error or 'files are missing'} ({places})"))
        return split
    split.classes = dataset.metainfo.get("classes") or ()
    num_classes = head.get("num_classes") or len(split.classes)
    loaders = [step for step in cfg["pipeline"] if "Load" in str(step["type"])]
    image, labels = (
        next((TRANSFORMS.build(step) for step in loaders if kind in str(step["type"])), None)
        for kind in ("Image", "Annotations")
    )
    split.check = PairCheck(num_classes, dataset.ignore_index, image, labels)
    split.problems += list_problems(split, dataset, head)
    return split


def list_problems(split: Split, dataset: object, head: Mapping) -> list[Problem]:
    """What is wrong with a data set's list and settings."""
    problems, prefix = [], dataset.data_prefix
    images, annotations = Path(prefix.get("img_path") or ""), Path(prefix.get("seg_map_path") or "")
    if not split.pairs:
        problems.append(Problem("empty split", f"{split.name}: no image in {where_images_are(dataset)}"))
    if split.classes and len(split.classes) != split.check.num_classes:
        text = (
            f"{split.name}: the data set names {len(split.classes)}, decode_head.num_classes is {head['num_classes']}"
        )
        problems.append(Problem("class counts differ", text))
    if dataset.ignore_index != head.get("ignore_index", 255):
        text = f"{split.name}: the data set ignores {dataset.ignore_index}, the head {head.get('ignore_index', 255)}"
        problems.append(Problem("ignored labels differ", text))
    if not dataset.ann_file and split.check.load_labels is not None:  # with a list, more files may well lie about
        known = {Path(pair["seg_map_path"]) for pair in split.pairs if "seg_map_path" in pair}
        alone = sorted(set(annotations.rglob(f"*{dataset.seg_map_suffix}")) - known)
        problems += [Problem("no image", f"{path} belongs to no image in {images}") for path in alone]
        listed = {Path(pair["img_path"]) for pair in split.pairs}
        others = sorted(set(images.rglob("*")) - listed - known)
        others = [path for path in others if path.suffix.lower() in IMAGE_SUFFIXES]
        if images != annotations:
            text = f"does not end in img_suffix={dataset.img_suffix!r} and is left out"
            problems += [Problem("another suffix", f"{path} {text}") for path in others]
    return problems


def where_images_are(dataset: object) -> str:
    """The list, or the folder and suffix, that a data set finds its images by."""
    return dataset.ann_file or f"{dataset.data_prefix.get('img_path')} (files ending in {dataset.img_suffix})"


@contextmanager
def pair_reports(splits: Sequence[Split], jobs: int) -> Iterator[Iterator[tuple[Split, PairReport]]]:
    """Reports of all pairs in order, read in so many processes."""
    if jobs < 2:
        yield ((split, split.check(pair)) for split in splits for pair in split.pairs)
        return
    with ProcessPoolExecutor(jobs, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
        try:
            chunks = [(split, pool.map(split.check, split.pairs, chunksize=16)) for split in splits if split.pairs]
            yield ((split, report) for split, reports in chunks for report in reports)
        finally:
            pool.shutdown(cancel_futures=True)
