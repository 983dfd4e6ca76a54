"""Check that images and annotations of a segmentation config fit: each pair is read as training reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, TRANSFORMS
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from mmtl.datasets.annotation_rules import (
    NUM_LABELS,
    ORIENTATION_NOTE,
    RENAMED,
    UNCLEAR_NOTE,
    Problem,
    dataset_names_problems,
    file_problem,
    is_unclear,
    label_problem,
    restore_sides,
    size_problem,
    turn_mask,
    unknown_labels,
    unused_class_problem,
)
from mmtl.datasets.segmentation_datasets import image_source
from mmtl.utils.config_file import leaf_dataset_cfgs, name_config_errors, read_config
from mmtl.utils.image_files import IMAGE_SUFFIXES, is_hidden
from mmtl.utils.processes import end_with_parent
from mmtl.utils.read_image import UPRIGHT, is_truncated, orientation_of
from mmtl.utils.text import in_line, join_names

MAX_EMPTY = 3  # adjacent classes without a pixel that have a row each


class PairReport(NamedTuple):
    """Pixels of each label as the loss sees it, int64 [256] (0: not read), and the problems of one pair.

    ``turned`` is 1 if its image has an EXIF orientation, ``unclear`` if sizes do not show whether its mask is upright.
    """

    pixels: np.ndarray | int
    problems: list[Problem]
    turned: int = 0
    unclear: int = 0


@dataclass
class Split:
    """One dataset of a config and what was found in it."""

    name: str  # "train", "val", "test", or several of them that read the same files
    classes: Sequence[str] = ()  # names, as the dataset gives them
    num_classes: int = 0  # K of the decode head; labels 0 to K - 1 are known
    ignore_index: int = 255  # label without a class
    pairs: list[dict] = field(default_factory=list)  # entries of the dataset's list
    check: Callable[[dict], PairReport] | None = None  # checks one pair; picklable
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(NUM_LABELS, np.int64))  # [256], of each label
    images: np.ndarray = field(default_factory=lambda: np.zeros(NUM_LABELS, np.int64))  # [256], in which it occurs
    turned: int = 0  # images with an EXIF orientation
    unclear: int = 0  # of these, masks without one that have the size of the stored and of the upright image


def check_segmentation(config: Path, jobs: int, cfg_options: dict | None = None) -> list[Split]:
    """Check all pairs of the datasets of a config, reading files in ``jobs`` processes.

    Raises:
        OSError: The config cannot be read, or none of its datasets.
        ValueError: The config has no dataset.
    """
    cfg = read_config(config, cfg_options)
    with name_config_errors(config):
        init_default_scope(cfg.get("default_scope", "mmseg"))
        splits = read_splits(cfg)
    if all(split.check is None for split in splits):
        raise FileNotFoundError(f"{config}: {splits[0].problems[0].text}. Correct it, or change the folder.")
    with ProcessPoolExecutor(jobs, initializer=prepare_worker) as pool:
        map_pairs = partial(pool.map, chunksize=16) if jobs > 1 else map
        for split in splits:
            for report in track(map_pairs(split.check, split.pairs), split.name, total=len(split.pairs)):
                split.problems += report.problems
                split.pixels += report.pixels
                split.images += report.pixels > 0
                split.turned += report.turned
                split.unclear += report.unclear
            reduced = any(pair.get("reduce_zero_label") for pair in split.pairs)
            rules = dict(num_classes=split.num_classes, ignore_index=split.ignore_index, reduce_zero_label=reduced)
            problem = unused_class_problem(split.pixels, **rules)
            if problem and "train" in split.name:
                split.problems.append(Problem(problem.kind, f"{split.name}: {problem.text}"))
    return splits


def prepare_worker() -> None:
    """Make a process that reads files use one thread and end with this one."""
    cv2.setNumThreads(0)
    end_with_parent()


def check_pair(
    pair: Mapping, load_image: BaseTransform, load_labels: BaseTransform | None, num_classes: int, ignore_index: int
) -> PairReport:
    """Check one entry of a dataset's list with the pipeline's own loading, which may have none for labels."""
    path = pair.get("seg_map_path")
    image_hw, problem = read_image_hw(pair, load_image)
    problems = [problem] if problem else []
    turned = int(image_hw is not None and orientation_of(pair["img_path"]) != UPRIGHT)
    if load_labels is None or path is None:
        return PairReport(0, problems, turned)
    labels, problem = read_labels(pair, load_labels)
    if problem:
        return PairReport(0, [*problems, problem], turned)
    unclear = turned and is_unclear(orientation_of(pair["img_path"]), orientation_of(path), image_hw)
    labels = turn_mask(restore_sides(labels, image_hw), path)
    rules = [label_problem(labels, num_classes, ignore_index, bool(pair.get("reduce_zero_label")))]
    rules += [size_problem(labels.shape, image_hw, pair["img_path"])] if image_hw else []
    problems += [Problem(rule.kind, f"{path}: {rule.text}") for rule in rules if rule]
    return PairReport(np.bincount(labels.ravel(), minlength=NUM_LABELS), problems, turned, int(unclear))


def read_image_hw(pair: Mapping, load: BaseTransform) -> tuple[tuple[int, int] | None, Problem | None]:
    """Return height and width of a pair's image, or the problem that prevents reading it."""
    path = Path(pair["img_path"])
    if not path.is_file():
        return None, Problem("no image", f"{path} does not exist")
    try:
        if is_truncated(path.read_bytes()):
            raise ValueError("the file is truncated")
        return load(dict(pair))["img"].shape[:2], None
    except Exception as error:  # decoders raise all kinds of errors on corrupt files
        return None, Problem("unreadable image", f"{path}: {error}")


def read_labels(pair: Mapping, load: BaseTransform) -> tuple[np.ndarray | None, Problem | None]:
    """Return the labels [H, W] of a pair as the loss sees them, or the problem that prevents reading them."""
    path = Path(pair["seg_map_path"])
    if not path.is_file():
        return None, Problem("no annotation", f"{pair['img_path']} has no {path}")
    if problem := file_problem(path):
        return None, Problem(problem.kind, f"{path}: {problem.text}")
    try:
        return load(dict(pair, seg_fields=[]))["gt_seg_map"], None
    except Exception as error:
        return None, Problem("unreadable annotation", f"{path}: cannot be read: {error}")


def read_splits(cfg: Mapping) -> list[Split]:
    """Return the datasets of a config, once each, with their lists of pairs."""
    datasets: dict[str, tuple[list[str], Mapping]] = {}
    for name in ("train", "val", "test"):
        loader = cfg.get(f"{name}_dataloader")
        for dataset in leaf_dataset_cfgs(loader["dataset"]) if loader else ():
            datasets.setdefault(str(dataset), ([], dataset))[0].append(name)
    if not datasets:
        raise ValueError("The config has no train_, val_ or test_dataloader. Give a segmentation config.")
    head = (cfg.get("model") or {}).get("decode_head") or {}
    head = head[-1] if isinstance(head, Sequence) else head  # the last of a cascade
    return [read_split(", ".join(names), dataset, head) for names, dataset in datasets.values()]


def read_split(name: str, cfg: Mapping, head: Mapping) -> Split:
    """List the pairs of one dataset and the faults that show without opening a file."""
    try:
        dataset = DATASETS.build({**cfg, "pipeline": [], "lazy_init": True})
        pairs = dataset.load_data_list()
    except (OSError, AssertionError, ValueError) as error:  # MMSegmentation's datasets assert without a message
        return Split(name, problems=[Problem("cannot be opened", f"{name}: {missing_path(cfg) or in_line(error)}")])
    classes, ignore_index = dataset.metainfo.get("classes") or (), dataset.ignore_index
    num_classes = head.get("num_classes") or len(classes)
    loaders = [step for step in cfg["pipeline"] if "Load" in str(step["type"])]
    load_image, load_labels = (
        next((TRANSFORMS.build(step) for step in loaders if kind in str(step["type"])), None)
        for kind in ("Image", "Annotations")
    )
    rules = dict(num_classes=num_classes, ignore_index=ignore_index)
    check = partial(check_pair, load_image=load_image, load_labels=load_labels, **rules)
    split = Split(name, classes, num_classes, ignore_index, pairs, check)

    def report(kind: str, text: str) -> None:
        split.problems.append(Problem(kind, f"{name}: {text}"))

    if classes and len(classes) != num_classes:
        report("class counts differ", f"the dataset names {len(classes)}, decode_head.num_classes is {num_classes}")
    if ignore_index != head.get("ignore_index", 255):
        text = f"the dataset ignores {ignore_index}, the head {head.get('ignore_index', 255)}"
        report("ignored labels differ", text)
    for problem in dataset_names_problems(dataset, pairs):
        split.warnings.append(problem.text) if problem.kind == RENAMED else report(problem.kind, problem.text)
    if not pairs:
        report("empty split", f"no image in {image_source(dataset)}")
    if not dataset.ann_file and load_labels is not None:  # a list may leave files out on purpose
        split.problems += unpaired_files(pairs, dataset)
    return split


def missing_path(cfg: Mapping) -> str:
    """Return which path of a dataset's config does not exist, and where it is searched; empty if all exist."""
    prefix, root = cfg.get("data_prefix") or {}, Path(cfg.get("data_root") or "")
    parts = [cfg.get("ann_file"), *(prefix.get(key) for key in ("img_path", "seg_map_path"))]
    missing = next((root / part for part in parts if part and not (root / part).exists()), None)
    if missing is None or missing.is_absolute():
        return f"{missing} does not exist" if missing else ""
    return f"{missing} does not exist; paths start at the current folder, {Path.cwd()}"


def unpaired_files(pairs: Sequence[dict], dataset: object) -> list[Problem]:
    """Return annotations without an image, and images that the dataset's suffix leaves out."""
    images, annotations = (Path(dataset.data_prefix.get(key) or "") for key in ("img_path", "seg_map_path"))
    listed = {Path(pair["img_path"]) for pair in pairs}
    paired = {Path(pair["seg_map_path"]) for pair in pairs if "seg_map_path" in pair}
    orphans = sorted(shown_files(annotations, f"*{dataset.seg_map_suffix}") - paired)
    problems = [Problem("no image", f"{path} belongs to no image in {images}") for path in orphans]
    if images != annotations:
        text = f"does not end in img_suffix={dataset.img_suffix!r} and is left out"
        others = sorted(path for path in shown_files(images, "*") - listed - paired)
        problems += [Problem("another suffix", f"{p} {text}") for p in others if p.suffix.lower() in IMAGE_SUFFIXES]
    return problems


def shown_files(folder: Path, pattern: str) -> set[Path]:
    """Return what is below a folder without hidden files and folders."""
    return {path for path in folder.rglob(pattern) if not is_hidden(path.relative_to(folder))}


def print_report(splits: Sequence[Split], shown: int | None) -> int:
    """Print class statistics and at most ``shown`` problems of a kind (None: all); return the number of problems."""
    Console().print(class_table(splits))
    warned = sum(len(split.warnings) for split in splits)
    for split in splits:
        for text in split.warnings:
            print(in_line(f"WARNING: {split.name}: {text}"))
        absent = [name.strip() for name, images in zip(split.classes, split.images, strict=False) if not images]
        if absent and split.pairs:
            more = f" and {len(absent[shown:])} more" if absent[shown:] and shown is not None else ""
            is_train = "train" in split.name
            text = f"{split.name}: no pixel of {join_names(absent[:shown])}{more}"
            print(in_line(f"WARNING: {text}, which cannot be learned" if is_train else text))
            warned += is_train * len(absent)
        if split.turned:
            print(f"{split.name}: {split.turned} images {ORIENTATION_NOTE}")
        if split.unclear:
            print(f"WARNING: {split.name}: {split.unclear} annotations {UNCLEAR_NOTE}")
    for split in splits:
        for kind, count in sorted(Counter(problem.kind for problem in split.problems).items()):
            texts = [problem.text for problem in split.problems if problem.kind == kind]
            print(f"\n{split.name}: {kind} ({count})", *map(in_line, texts[:shown]), sep="\n  ")
            if shown is not None and count > shown:
                print(f"  and {count - shown} more (--all)")
    count = sum(len(split.problems) for split in splits)
    unclear = sum(split.unclear for split in splits)
    warnings = f", warnings: {unclear + warned}" * bool(unclear + warned)
    print(f"{sum(len(split.pairs) for split in splits)} pairs, problems: {count or 'none'}{warnings}")
    return count


def class_table(splits: Sequence[Split]) -> Table:
    """Tabulate the images in which each class occurs and its share of the labeled pixels, split by split."""
    title = "Classes: images, and percent of the labeled pixels"
    table = Table(Column(justify="right"), "class", title=title, title_justify="left")
    names = [escape(in_line(name.strip())) for name in max((split.classes for split in splits), key=len)]
    num_classes = max(len(names), *(split.num_classes for split in splits))
    names += [f"class {label}" for label in range(len(names), num_classes)]
    columns = [[*map(str, range(num_classes)), "", ""], [*names, "ignored, % of all", "outside the classes, % of all"]]
    for split in splits:
        table.add_column(f"{split.name}\nimages", justify="right")
        table.add_column("\npixels %", justify="right")
        unknown = unknown_labels(np.arange(NUM_LABELS), num_classes, split.ignore_index)
        labeled, total = split.pixels[:num_classes].sum(), split.pixels.sum()
        shares = [percent(pixels, labeled) for pixels in split.pixels[:num_classes]]
        rest = [percent(split.pixels[which].sum(), total) for which in (split.ignore_index, unknown)]
        columns += [[*map(str, split.images[:num_classes]), "", ""], [*shares, *rest]]
    rows = list(zip(*columns, strict=True))
    empty = [not any(split.pixels[label] for split in splits) for label in range(num_classes)]
    for is_empty, run in groupby(range(num_classes), empty.__getitem__):
        labels = list(run)
        if is_empty and len(labels) > MAX_EMPTY:
            rows[labels[0]] = (f"{labels[0]} to {labels[-1]}", f"{len(labels)} classes", *rows[labels[0]][2:])
            labels = labels[:1]
        for label in labels:
            table.add_row(*rows[label])
    table.add_section()
    for row in rows[num_classes:]:
        table.add_row(*row)
    return table


def percent(part: int, total: int) -> str:
    """Format a share in percent; "-" of nothing."""
    return f"{100 * part / total:.2f}" if total else "-"
