"""Check that images and annotations of a segmentation config fit: each pair is read as training reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, TRANSFORMS
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmtl.datasets.annotation_rules import (
    NUM_LABELS,
    Problem,
    decode_fully,
    file_problem,
    label_problem,
    restore_sides,
    size_problem,
    unknown_labels,
)
from mmtl.datasets.segmentation_datasets import image_source
from mmtl.utils.config_file import read_config
from mmtl.utils.image_files import IMAGE_SUFFIXES


class PairReport(NamedTuple):
    """Pixels of each label as the loss sees it, int64 [256] (None: not read), and the problems of one pair."""

    pixels: np.ndarray | None
    problems: list[Problem]


def check_segmentation(config: Path, jobs: int, cfg_options: dict | None = None) -> list[Split]:
    """Check all pairs of the datasets of a config, reading files in ``jobs`` processes.

    Raises:
        OSError: The config cannot be read.
        ValueError: The config has no dataset.
    """
    cfg = read_config(config, cfg_options)
    init_default_scope(cfg.get("default_scope", "mmseg"))
    splits = read_splits(cfg)
    with pair_reports(splits, jobs) as reports:
        for split, report in track(reports, "check", total=sum(len(split.pairs) for split in splits)):
            split.add(report)
    return splits


@dataclass(frozen=True)
class PairCheck:
    """Reads one pair and reports what is wrong with it. Picklable, for use in other processes.

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
        """Check one entry of a dataset's list."""
        path, pixels = pair.get("seg_map_path"), None
        image_hw, *problems = self._image_hw(pair)
        if self.load_labels is not None and path is not None:
            labels, problem = self._labels(pair)
            problems.append(problem)
            if labels is not None:
                labels = restore_sides(labels, image_hw)
                pixels = np.bincount(labels.ravel(), minlength=NUM_LABELS)
                reduced = bool(pair.get("reduce_zero_label"))
                rules = [label_problem(labels, self.num_classes, self.ignore_index, reduced)]
                rules += [size_problem(labels.shape, image_hw)] if image_hw else []
                problems += [Problem(rule.kind, f"{path}: {rule.text}") for rule in rules if rule]
        return PairReport(pixels, [problem for problem in problems if problem])

    def _image_hw(self, pair: Mapping) -> tuple[tuple[int, int] | None, Problem | None]:
        path = Path(pair["img_path"])
        if not path.is_file():
            return None, Problem("no image", f"{path} does not exist")
        try:
            decode_fully(path)
            return self.load_image(dict(pair))["img"].shape[:2], None
        except Exception as error:  # decoders raise all kinds of errors on corrupt files
            return None, Problem("unreadable image", f"{path}: {error}")

    def _labels(self, pair: Mapping) -> tuple[np.ndarray | None, Problem | None]:
        path = Path(pair["seg_map_path"])
        if not path.is_file():
            return None, Problem("no annotation", f"{pair['img_path']} has no {path}")
        if problem := file_problem(path):
            return None, Problem(problem.kind, f"{path}: {problem.text}")
        try:
            return self.load_labels(dict(pair, seg_fields=[]))["gt_seg_map"], None
        except Exception as error:
            return None, Problem("unreadable annotation", f"{path}: cannot be read: {error}")


@dataclass
class Split:
    """One dataset of a config and what was found in it.

    Attributes:
        name: 'train', 'val', 'test', or several of them that read the same files.
        classes: names, as the dataset gives them.
        pairs: entries of the dataset's list.
        check: checks one pair.
        problems: found so far.
        pixels: int64 [256], pixels of each label over all pairs.
        images: int64 [256], number of annotations in which each label occurs.
    """

    name: str
    classes: Sequence[str] = ()
    pairs: list[dict] = field(default_factory=list)
    check: PairCheck | None = None
    problems: list[Problem] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(NUM_LABELS, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(NUM_LABELS, np.int64))

    @property
    def ignore_index(self) -> int:
        """Label without a class."""
        return self.check.ignore_index if self.check else 255

    def add(self, report: PairReport) -> None:
        """Add the report of one pair."""
        self.problems += report.problems
        if report.pixels is not None:
            self.pixels += report.pixels
            self.images += report.pixels > 0


def read_splits(cfg: Mapping) -> list[Split]:
    """Return the datasets of a config, once each, with their lists of pairs.

    Raises:
        ValueError: The config has no dataset.
    """
    datasets: list[tuple[str, Mapping]] = []
    for name in ("train", "val", "test"):
        loader = cfg.get(f"{name}_dataloader")
        for dataset in leaf_dataset_cfgs(loader["dataset"]) if loader else ():
            same = [i for i, (_, other) in enumerate(datasets) if other == dataset]
            if same:
                datasets[same[0]] = (f"{datasets[same[0]][0]}, {name}", dataset)
            else:
                datasets.append((name, dataset))
    if not datasets:
        raise ValueError("The config has no train_, val_ or test_dataloader. Give a segmentation config.")
    head = (cfg.get("model") or {}).get("decode_head") or {}
    head = head[-1] if isinstance(head, Sequence) else head  # the last of a cascade
    return [read_split(name, dataset, head) for name, dataset in datasets]


def leaf_dataset_cfgs(dataset: Mapping) -> list[Mapping]:
    """Return the configs of the datasets inside wrappers that repeat or concatenate them."""
    inner = dataset.get("datasets") or [dataset[key] for key in ("dataset",) if key in dataset]
    return [leaf for each in inner for leaf in leaf_dataset_cfgs(each)] if inner else [dataset]


def read_split(name: str, cfg: Mapping, head: Mapping) -> Split:
    """List the pairs of one dataset and the faults that show without opening a file."""
    split = Split(name)
    try:
        dataset = DATASETS.build({**cfg, "pipeline": [], "lazy_init": True})
        split.pairs = dataset.load_data_list()
    except (OSError, AssertionError, ValueError) as error:  # MMSegmentation's datasets assert without a message
        paths = {key: cfg.get(key) for key in ("data_root", "data_prefix", "ann_file") if cfg.get(key)}
        split.problems.append(Problem("cannot be opened", f"{name}: {error or 'files are missing'} ({paths})"))
        return split
    split.classes = dataset.metainfo.get("classes") or ()
    loaders = [step for step in cfg["pipeline"] if "Load" in str(step["type"])]
    image, labels = (
        next((TRANSFORMS.build(step) for step in loaders if kind in str(step["type"])), None)
        for kind in ("Image", "Annotations")
    )
    split.check = PairCheck(head.get("num_classes") or len(split.classes), dataset.ignore_index, image, labels)
    split.problems += settings_problems(split, head)
    if not split.pairs:
        split.problems.append(Problem("empty split", f"{name}: no image in {image_source(dataset)}"))
    if not dataset.ann_file and labels is not None:  # a list may leave files out on purpose
        split.problems += unpaired_files(split.pairs, dataset)
    return split


def settings_problems(split: Split, head: Mapping) -> list[Problem]:
    """Return where a dataset and the decode head disagree."""
    problems = []
    if split.classes and len(split.classes) != split.check.num_classes:
        text = f"the dataset names {len(split.classes)}, decode_head.num_classes is {head['num_classes']}"
        problems.append(Problem("class counts differ", f"{split.name}: {text}"))
    if split.ignore_index != head.get("ignore_index", 255):
        text = f"the dataset ignores {split.ignore_index}, the head {head.get('ignore_index', 255)}"
        problems.append(Problem("ignored labels differ", f"{split.name}: {text}"))
    return problems


def unpaired_files(pairs: Sequence[dict], dataset: object) -> list[Problem]:
    """Return annotations without an image, and images that the dataset's suffix leaves out."""
    images, annotations = (Path(dataset.data_prefix.get(key) or "") for key in ("img_path", "seg_map_path"))
    listed = {Path(pair["img_path"]) for pair in pairs}
    paired = {Path(pair["seg_map_path"]) for pair in pairs if "seg_map_path" in pair}
    orphans = sorted(set(annotations.rglob(f"*{dataset.seg_map_suffix}")) - paired)
    problems = [Problem("no image", f"{path} belongs to no image in {images}") for path in orphans]
    if images != annotations:
        text = f"does not end in img_suffix={dataset.img_suffix!r} and is left out"
        others = sorted(path for path in set(images.rglob("*")) - listed - paired)
        problems += [Problem("another suffix", f"{p} {text}") for p in others if p.suffix.lower() in IMAGE_SUFFIXES]
    return problems


@contextmanager
def pair_reports(splits: Sequence[Split], jobs: int) -> Iterator[Iterator[tuple[Split, PairReport]]]:
    """Yield the reports of all pairs in order, read in ``jobs`` processes."""
    if jobs < 2:
        yield ((split, split.check(pair)) for split in splits for pair in split.pairs)
        return
    with ProcessPoolExecutor(jobs, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
        try:
            chunks = [(split, pool.map(split.check, split.pairs, chunksize=16)) for split in splits if split.pairs]
            yield ((split, report) for split, reports in chunks for report in reports)
        finally:
            pool.shutdown(cancel_futures=True)


def print_report(splits: Sequence[Split], shown: int | None) -> int:
    """Print class statistics and at most ``shown`` problems of a kind (None: all); return the number of problems."""
    Console().print(class_table(splits))
    for split in splits:
        print_absent(split, shown)
    for split in splits:
        print_problems(split, shown)
    pairs, count = (sum(len(getattr(split, name)) for split in splits) for name in ("pairs", "problems"))
    print(f"{pairs} pairs, problems: {count or 'none'}")
    return count


def class_table(splits: Sequence[Split]) -> Table:
    """Tabulate the images in which each class occurs and its share of the labeled pixels, split by split."""
    table = Table("", "class", title="Classes: images, and percent of the labeled pixels", title_justify="left")
    table.columns[0].justify = "right"
    for split in splits:
        table.add_column(f"{split.name}\nimages", justify="right")
        table.add_column("\npixels %", justify="right")
    names = max((split.classes for split in splits), key=len, default=())
    count = max([len(names), *(split.check.num_classes for split in splits if split.check)])
    for label in range(count):
        cells = []
        for split in splits:
            cells += [str(split.images[label]), percent(split.pixels[label], split.pixels[:count].sum())]
        table.add_row(str(label), names[label].strip() if label < len(names) else f"class {label}", *cells)
    table.add_section()
    ignored, outside = [], []
    for split in splits:
        unknown = unknown_labels(np.arange(NUM_LABELS), count, split.ignore_index)
        ignored += ["", percent(split.pixels[split.ignore_index], split.pixels.sum())]
        outside += ["", percent(split.pixels[unknown].sum(), split.pixels.sum())]
    table.add_row("", "ignored, % of all", *ignored)
    table.add_row("", "outside the classes, % of all", *outside)
    return table


def percent(part: int, total: int) -> str:
    """Format a share in percent; "-" of nothing."""
    return f"{100 * part / total:.2f}" if total else "-"


def print_absent(split: Split, shown: int | None) -> None:
    """Print the classes that never occur in a split; a class that training never sees cannot be learned."""
    absent = [name.strip() for name, images in zip(split.classes, split.images, strict=False) if not images]
    if absent and split.pairs:
        more = f" and {len(absent) - shown} more" if shown is not None and len(absent) > shown else ""
        print(f"{split.name}: no pixel of {', '.join(absent[:shown])}{more}")


def print_problems(split: Split, shown: int | None) -> None:
    """Print problems by kind, at most ``shown`` of each."""
    for kind, count in sorted(Counter(problem.kind for problem in split.problems).items()):
        print(f"\n{split.name}: {kind} ({count})")
        texts = [problem.text for problem in split.problems if problem.kind == kind]
        print("".join(f"  {text}\n" for text in texts[:shown]), end="")
        if shown is not None and count > shown:
            print(f"  and {count - shown} more (--all)")
