"""Classify a folder of images into a CSV table."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpretrain import ImageClassificationInferencer, get_model
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmtl.annotators.progress import RateColumn
from mmtl.score_maps.class_table import ClassTable
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import load_weights
from mmtl.utils.config_file import leaf_dataset_cfgs, name_config_errors, read_config
from mmtl.utils.image_files import check_list_labels, class_folders, empty_folders, list_images, read_list
from mmtl.utils.processes import silence_worker
from mmtl.utils.read_image import loading_options, read_image
from mmtl.utils.text import csv_cell, in_line, shorten
from mmtl.utils.type_name import type_name

DEFAULT_TOPK = 5


class Predictions(NamedTuple):
    """What `predict` has done."""

    rows: int  # of the table
    undecodable: list[str]  # images
    labeled: int  # images whose class is known
    correct: int  # of these


def predict(
    config: Path,
    checkpoint: Path,
    images: Path,
    out: Path,
    *,
    list_file: Path | None = None,
    topk: int | None = None,
    wrong_only: bool = False,
    batch_size: int = 64,
    workers: int = 2,
    device: str = "cpu",
) -> Predictions:
    """Classify images and write the table atomically; the arguments are the options of ``mmtl predict``.

    ``topk`` is by default 5, or the number of classes if there are fewer.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The checkpoint does not fit, no image can be decoded, or ``wrong_only`` without known classes.
    """
    entries = [] if list_file is None else read_list(list_file, images)
    labels = dict(entries)
    keys = list(labels) or list_images(images, allow_empty=True)
    if not labels and (empty := empty_folders(images, keys)):
        warn(f"folders without an image are left out: {shorten(empty)}")
    inferencer = load_inferencer(config, checkpoint, device)
    num_classes, names = num_classes_of(inferencer.model), inferencer.classes
    if names is not None and len(names) != num_classes:  # of other data
        names = None
    topk = min(DEFAULT_TOPK, num_classes) if topk is None else topk
    if topk > num_classes:
        raise ValueError(f"--topk must be at most {num_classes}, the number of classes, got {topk}.")
    check_list_labels(list_file, entries, num_classes)
    truth = labels or folder_labels(images, keys, names, num_classes)
    if wrong_only and all(label is None for label in truth.values()):
        raise ValueError(
            f"--wrong-only needs class folders, but the folders of {images} are not named after classes of "
            f"{checkpoint.name}, of the config or of ImageNet. Rename them, or give --list."
        )
    undecodable, labeled, correct = [], 0, 0
    predictions = classify(inferencer, images, keys, batch_size, workers)
    with atomic_file(out) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer, rows = csv.writer(file), 0
        columns = [f"{column}_{rank}" for rank in range(1, topk + 1) for column in ("class", "confidence")]
        writer.writerow(["path", "label", *columns])
        for key, scores in predictions:
            if scores is None:
                undecodable.append(key)
                continue
            label = truth[key]
            labeled += label is not None
            correct += int(scores.argmax()) == label
            if not wrong_only or scores.argmax() != label:
                writer.writerow([csv_cell(key), *table_cells(label, scores, topk, names)])
                rows += 1
        if len(undecodable) == len(keys):
            raise ValueError(f"None of the {len(keys)} images of {images} can be decoded.")
    return Predictions(rows, undecodable, labeled, correct)


def folder_labels(
    root: Path, keys: Sequence[str], names: Sequence[str] | None, num_classes: int
) -> dict[str, int | None]:
    """Return the class index of each image's folder, None if it is unknown; warn of folders that are not classes."""
    folders = class_folders(keys)
    if not folders and root.resolve().name in (names or ()):
        warn(f"{root} has no class folders, so no top-1: give {root.parent} for it")
    table = ClassTable.of(dict(class_names=names), num_classes, folders)
    known = table.of_folders(folders)
    unknown = [folder for folder in folders if folder not in known]
    if table.takes_order(folders):
        warn("labels by the order of the folders")
    elif unknown and not known:
        warn(f"folders are not class names: no top-1 ({shorten(unknown)})")
    elif unknown:
        warn(f"folders that are not class names have no label: {shorten(unknown)}")
    return {key: known.get(key.split("/")[0]) for key in keys}


def warn(text: str) -> None:
    """Print a line on standard error."""
    print(in_line(f"WARNING: {text}"), file=sys.stderr)


def table_cells(label: int | None, scores: Tensor, topk: int, names: Sequence[str] | None) -> list[str]:
    """Return the true class, then class and confidence of the top-k classes, given the confidences [K]."""
    names = names or range(len(scores))
    cells = ["" if label is None else csv_cell(names[label])]
    for score, index in zip(*scores.topk(topk), strict=True):
        cells += [csv_cell(names[index]), f"{score:.6f}"]
    return cells


def load_inferencer(config: Path, checkpoint: Path, device: str) -> ImageClassificationInferencer:
    """Return MMPretrain's inferencer of a config; its weights are read without running code from them."""
    cfg = read_config(config)
    for step in test_pipeline(cfg):
        if (name := type_name(step["type"])) == "LoadImageFromFile":
            step["type"] = name  # the inferencer removes it by this name
    init_default_scope("mmpretrain")
    with name_config_errors(config):
        model = get_model(cfg, pretrained=False)
    if num_classes_of(model) is None:
        raise ValueError(f"{config} is not a classification config: its model has no head with num_classes.")
    meta = load_weights(model, checkpoint)
    with name_config_errors(config):
        return ImageClassificationInferencer(model.to(device), classes=meta.get("classes") or config_classes(cfg))


def config_classes(cfg: Config) -> list[str] | None:
    """Return the class names that a config's datasets state; None if there are none."""
    for loader in ("test_dataloader", "val_dataloader", "train_dataloader"):
        for dataset in leaf_dataset_cfgs((cfg.get(loader) or {}).get("dataset") or {}):
            names = dataset.get("classes") or (dataset.get("metainfo") or {}).get("classes")
            if isinstance(names, list | tuple):
                return list(names)
    return None


def num_classes_of(model: nn.Module) -> int | None:
    """Return the number of classes of a classifier, whose head may be part of a timm model; None without a head."""
    for part in (getattr(model, "head", None), getattr(model, "model", None)):
        if hasattr(part, "num_classes"):
            return part.num_classes
    return None


def test_pipeline(cfg: Config) -> list[dict]:
    """Return the steps that the inferencer applies, which begin with the loading of an image."""
    return (cfg.get("test_dataloader") or {}).get("dataset", {}).get("pipeline", [])


def load_batch(
    root: Path, pipeline: Callable, loading: dict[str, str | None], keys: Sequence[str]
) -> list[tuple[str, dict | None]]:
    """Return each key with the output of the test pipeline, or None if the image cannot be decoded."""
    batch = []
    for key in keys:
        try:
            image = read_image(root / key, **loading)
        except OSError:
            image = None
        hw = None if image is None else image.shape[:2]
        sample = dict(img=image, img_shape=hw, ori_shape=hw, img_path=str(root / key))
        batch.append((key, None if image is None else pipeline(sample)))
    return batch


def classify(
    inferencer: ImageClassificationInferencer, root: Path, keys: Sequence[str], batch_size: int, workers: int
) -> Iterator[tuple[str, Tensor | None]]:
    """Yield each image's key and class probabilities [K], None if it cannot be decoded, under a progress bar."""
    loading = loading_options(test_pipeline(inferencer.config))
    collate = partial(load_batch, root, inferencer.pipeline, loading)  # runs in the workers
    options = dict(num_workers=workers, collate_fn=collate, worker_init_fn=silence_worker)
    loader = DataLoader(keys, batch_size=batch_size, **options)
    columns = (BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(keys))
        for batch in loader:
            decoded = [packed for _, packed in batch if packed is not None]
            results = iter(inferencer.forward(pseudo_collate(decoded)) if decoded else [])
            for key, packed in batch:
                yield key, None if packed is None else next(results).pred_score.cpu()
            progress.advance(task, len(batch))
