"""Measure a classifier on corrupted images: ImageNet-C, or corruptions of clean images that are made on the way."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmpretrain import ImageClassificationInferencer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader

from mmtl.apis.predict import load_batch, load_inferencer, num_classes_of, test_pipeline
from mmtl.datasets.transforms.corrupt import CORRUPTIONS, SEVERITIES, Corrupt
from mmtl.evaluation.corruption_error import Errors, mean_corruption_error, mean_error, relative_error
from mmtl.score_maps.class_table import ClassTable
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.image_files import check_image_folder, class_folders, files_under, is_image, list_images
from mmtl.utils.processes import silence_worker
from mmtl.utils.read_image import loading_options
from mmtl.utils.text import in_line, shorten
from mmtl.visualization.corruption_error import draw_corruption_errors
from mmtl.visualization.figures import save_figure

CLEAN = "clean"  # name of the uncorrupted images in tables


def corruption_error(
    config: Path,
    checkpoint: Path | str,
    images: Path,
    out: Path,
    *,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    batch_size: int = 64,
    workers: int = 2,
    device: str = "cpu",
) -> list[list[str]]:
    """Measure top-1 errors; write a CSV table and a plot beside it, and print what is left out of them.

    Args:
        config: a classification config.
        checkpoint: its weights.
        images: ImageNet-C, whose images are in ``<corruption>/<severity>/<class>/``, also in a folder for each kind of
            corruption (``noise/gaussian_noise/…``); or clean images in class folders, which are corrupted at the
            network's input size, as ImageNet-C's are.
        out: CSV file; the plot has the suffix .png.
        corruptions: those to measure; None all of ImageNet-C that exist, or the 15 of the benchmark.
        severities: likewise, 1 to 5.
        batch_size: images per batch.
        workers: processes that decode images.
        device: where the model runs.

    Returns:
        The rows of the table, in percent; see `table_rows`.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: No corruption is found, class folders are not classes of the model, or no image can be decoded.
    """
    inferencer = load_inferencer(config, checkpoint, device)
    runs = plan_runs(images, inferencer.pipeline, corruptions, severities or SEVERITIES)
    roots = dict.fromkeys(root for root, _ in runs.values())
    counts = {root: len(labelled_images(inferencer, root)[0]) for root in roots}  # also reports errors before hours
    measure = partial(top1_error, inferencer, batch_size=batch_size, workers=workers)
    errors, undecodable = measure_runs(runs, measure)
    clean = errors.pop(CLEAN, {}).get(0)
    is_imagenet = num_classes_of(inferencer.model) == 1000
    rows = table_rows(errors, clean, is_imagenet)
    with atomic_file(out) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    save_figure(draw_corruption_errors(errors, clean, is_imagenet), out.with_suffix(".png"))
    expected = dict.fromkeys(CORRUPTIONS if is_imagenet and not corruptions else (), {})
    notes = [*undecodable_lines(undecodable), *missing_lines(expected | errors, severities or SEVERITIES)]
    notes += uneven_lines({kind: counts[root] for kind, (root, _) in runs.items()})
    for line in [*notes, *baseline_lines(rows, clean)]:
        print(in_line(line))
    return rows


def plan_runs(
    images: Path, pipeline: Compose, corruptions: Sequence[str] | None, severities: Sequence[int]
) -> dict[tuple[str, int], tuple[Path, Compose]]:
    """Return image folder and test pipeline of every corruption and severity to measure."""
    found = find_corruptions(images)
    if not found:
        kinds = [(name, severity) for name in corruptions or CORRUPTIONS for severity in severities]
        runs = {(CLEAN, 0): (images, pipeline)}
        return runs | {kind: (images, corrupted_pipeline(pipeline, *kind)) for kind in kinds}
    names = list(dict.fromkeys(name for name, _ in found))
    if unknown := sorted(set(corruptions or ()) - set(names)):
        raise ValueError(f"{images}: corruptions must be some of {', '.join(names)}, got {', '.join(unknown)}.")
    kept = {kind: folder for kind, folder in found.items() if kind[0] in (corruptions or names)}
    runs = {kind: (folder, pipeline) for kind, folder in kept.items() if kind[1] in severities}
    if not runs:
        known, given = (", ".join(map(str, sorted(set(each)))) for each in ((kind[1] for kind in kept), severities))
        raise ValueError(f"{images}: severities must be some of {known}, got {given}.")
    return runs


def measure_runs(
    runs: Mapping[tuple[str, int], tuple[Path, Compose]], measure: Callable[[Path, Compose], tuple[float, list[Path]]]
) -> tuple[dict[str, dict[int, float]], set[Path]]:
    """Return the errors of all corruptions and severities, and the images that are undecodable; show the progress."""
    errors: dict[str, dict[int, float]] = {}
    undecodable: set[Path] = set()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(runs))
        for (name, severity), (root, pipeline) in runs.items():
            progress.update(task, description=f"{name} {severity}")
            errors.setdefault(name, {})[severity], left_out = measure(root, pipeline)
            undecodable.update(left_out)
            progress.advance(task)
    return errors, undecodable


def find_corruptions(root: Path) -> dict[tuple[str, int], Path]:
    """Return the folders ``<corruption>/<severity>`` of ImageNet-C's layout below a root; empty if there are none."""
    check_image_folder(root)
    found = {}
    for pattern in ("*/[1-5]", "*/*/[1-5]"):
        for folder in sorted(root.glob(pattern)):
            if any("/" in path and is_image(path) for path in files_under(folder)):
                found.setdefault((folder.parent.name, int(folder.name)), folder)
    order = {name: index for index, name in enumerate(CORRUPTIONS)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])))


def corrupted_pipeline(pipeline: Compose, corruption: str, severity: int) -> Compose:
    """Return a test pipeline that corrupts the image just before it is packed."""
    *steps, pack = pipeline.transforms
    return Compose([*steps, Corrupt(corruption, severity), pack])


def labelled_images(inferencer: ImageClassificationInferencer, root: Path) -> tuple[list[str], dict[str, int]]:
    """Return the images of a root, and the class index of each of its class folders."""
    keys = list_images(root)
    folders, num_classes = class_folders(keys), num_classes_of(inferencer.model)
    labels = ClassTable.of(dict(class_names=inferencer.classes), num_classes, folders).of_folders(folders)
    if not folders or len(labels) < len(folders):
        raise ValueError(
            f"{root}: class folders must have the names of classes of the checkpoint or of ImageNet, or be "
            f"{num_classes}, one for each class, if no class names are known."
        )
    return keys, labels


def top1_error(
    inferencer: ImageClassificationInferencer,
    root: Path,
    pipeline: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    batch_size: int,
    workers: int,
) -> tuple[float, list[Path]]:
    """Return the share of a root's images whose top-1 class is not their folder's, and those that are undecodable."""
    keys, labels = labelled_images(inferencer, root)
    collate = partial(load_batch, root, pipeline, loading_options(test_pipeline(inferencer.config)))
    options = dict(num_workers=workers, collate_fn=collate, worker_init_fn=silence_worker)
    wrong, count, undecodable = 0, 0, []
    for batch in DataLoader(keys, batch_size=batch_size, **options):
        decoded = {key: packed for key, packed in batch if packed is not None}
        results = inferencer.forward(pseudo_collate(list(decoded.values()))) if decoded else []
        truths = [labels[key.split("/")[0]] for key in decoded]
        wrong += sum(int(result.pred_score.argmax()) != truth for result, truth in zip(results, truths, strict=True))
        count += len(decoded)
        undecodable += [root / key for key, packed in batch if packed is None]
    if not count:
        raise ValueError(f"None of the {len(keys)} images of {root} can be decoded.")
    return wrong / count, undecodable


def undecodable_lines(paths: Collection[Path]) -> list[str]:
    """Return a line about images that could not be decoded, if there are any."""
    return [f"{len(paths)} images could not be decoded and are left out, such as {min(paths)}."] if paths else []


def missing_lines(errors: Errors, severities: Sequence[int]) -> list[str]:
    """Return a line for each set of severities that corruptions lack."""
    names: dict[tuple[int, ...], list[str]] = {}
    for name, by_severity in errors.items():
        names.setdefault(tuple(sorted(set(severities) - by_severity.keys())), []).append(name)
    return [
        f"No images of severity {', '.join(map(str, missing))}: {', '.join(each)}. Means are over the others."
        for missing, each in names.items()
        if missing
    ]


def uneven_lines(counts: Mapping[tuple[str, int], int]) -> list[str]:
    """Return a line about corruptions and severities with fewer images than others, if there are any."""
    most = max(counts.values())
    fewer = [f"{name} {severity} ({count})" for (name, severity), count in counts.items() if count < most]
    return [f"Fewer than {most} images: {shorten(fewer)}."] if fewer else []


def baseline_lines(rows: Sequence[Sequence[str]], clean: float | None) -> list[str]:
    """Return a line about AlexNet's errors if a table with CE is not about the files of ImageNet-C."""
    if clean is None or not any(ce for *_, ce in rows[1:]):
        return []
    return ["CE: AlexNet's errors are for ImageNet-C's files, from which the corruptions made here differ a little."]


def table_rows(errors: Errors, clean: float | None, is_imagenet: bool) -> list[list[str]]:
    """Return a table with a row for each corruption, in percent, and the means in the last one.

    The column CE is the error in units of AlexNet's, for ImageNet with five severities.
    """
    severities = sorted({severity for by_severity in errors.values() for severity in by_severity})
    rows = [["corruption", *map(str, severities), "mean", "CE"]]
    if clean is not None:
        rows.append([CLEAN, *[""] * len(severities), _percent(clean), ""])
    for name, by_severity in errors.items():
        cells = [_percent(by_severity.get(severity)) for severity in severities]
        relative = relative_error(name, by_severity) if is_imagenet else None
        rows.append([name, *cells, _percent(mean_error({name: by_severity})), _percent(relative)])
    total = mean_corruption_error(errors) if is_imagenet else None
    by_severity = [[each[severity] for each in errors.values() if severity in each] for severity in severities]
    means = [_percent(sum(each) / len(each)) for each in by_severity]
    return [*rows, ["mean", *means, _percent(mean_error(errors)), _percent(total)]]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
