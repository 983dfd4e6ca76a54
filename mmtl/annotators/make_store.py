"""From a classifier and an image folder to a finished store."""

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtl.annotators.annotator import Annotator
from mmtl.annotators.generate import Job, run_job
from mmtl.annotators.images import SquashedImages
from mmtl.annotators.plan import Plan, unit_size
from mmtl.annotators.progress import watch_progress
from mmtl.annotators.work_queue import Alone
from mmtl.score_maps.folder_lock import FolderLock
from mmtl.score_maps.layout import RecordLayout
from mmtl.score_maps.manifest import MANIFEST_NAME, make_settings, read_manifest, setting_difference
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.score_maps.writer import (
    SHARD_BYTES,
    complete_shards,
    finish_store,
    prepare_folder,
    remove_temporaries,
)
from mmtl.utils.image_files import class_folders, list_images
from mmtl.utils.read_image import read_image


@dataclass(frozen=True)
class Options:
    """How score maps are made.

    Attributes:
        topk: Classes kept per cell.
        batch_size: Images per forward pass.
        workers: Processes that decode images.
        input_hw: Input size in pixels; None takes the annotator's own.
        max_undecodable: Share of images that may be undecodable.
        shard_images: Images per shard; None chooses.
        score_bits: 16, or 8 for the compact form.
    """

    topk: int = 5
    batch_size: int = 64
    workers: int = 2
    input_hw: tuple[int, int] | None = None
    max_undecodable: float = 0.001
    shard_images: int | None = None
    score_bits: int = 16


def prepare_job(annotator: Annotator, root: Path, folder: Path, options: Options) -> Job:
    """Everything that can be known before the first image is annotated.

    Raises:
        FileNotFoundError: The image root or a class folder holds no image.
        ValueError: The annotator and the options do not fit together.
    """
    keys = list_images(root)
    size_hw = options.input_hw or annotator.size_hw or _first_image_size(root, keys)
    grid_hw, num_classes = annotator.output_shape(size_hw)
    layout = RecordLayout(num_classes, grid_hw, options.topk, score_bits=options.score_bits)
    plan = Plan(keys, options.shard_images or unit_size(len(keys), layout.record_bytes, SHARD_BYTES))
    squash = annotator.squash(size_hw)
    preprocessing = {
        "input_hw": size_hw,
        "interpolation": squash.interpolation,
        "backend": squash.backend,
        **annotator.normalisation,
        **annotator.inference.describe(),
    }
    return Job(
        annotator=annotator,
        images=SquashedImages(root, keys, squash),
        plan=plan,
        labels=folder_labels(keys, num_classes),
        layout=layout,
        settings=make_settings(layout, annotator.description, preprocessing, plan=plan.fingerprint),
        folder=folder,
        batch_size=options.batch_size,
        workers=options.workers,
        allowed_undecodable=int(options.max_undecodable * len(keys)),
    )


def _first_image_size(root: Path, keys: list[str]) -> tuple[int, int]:
    image = next((image for key in keys if (image := read_image(root / key)) is not None), None)
    if image is None:
        raise ValueError(f"No image under {root} can be decoded.")
    return image.shape[0], image.shape[1]


def folder_labels(keys: list[str], num_classes: int) -> np.ndarray | None:
    """Class index of each key's folder; None unless there are K class folders."""
    folders = class_folders(keys)
    if len(folders) != num_classes:
        return None
    index = {name: number for number, name in enumerate(folders)}
    return np.array([index[key.split("/")[0]] for key in keys])


def missing_units(job: Job) -> list[int]:
    """Work units without a shard.

    Raises:
        ScoreMapStoreError: The folder's shards are damaged or were made otherwise.
    """
    shards = complete_shards(job.folder)
    for path, footer in shards[:1]:
        if difference := setting_difference(footer["settings"], job.settings):
            raise ScoreMapStoreError(
                f"{path} was made with other settings (there / now): {difference}."
                " Choose another folder or delete this one."
            )
    done = {footer["unit"] for _, footer in shards}
    return [number for number in range(job.plan.num_units) if number not in done]


def is_finished(job: Job) -> bool:
    """Whether the folder already holds the store that the job would make.

    Raises:
        FileExistsError: It holds another finished store.
    """
    if not (job.folder / MANIFEST_NAME).exists():
        return False
    if difference := setting_difference(read_manifest(job.folder).settings, job.settings):
        raise FileExistsError(
            f"{job.folder} holds a finished store made with other settings (there / now): {difference}."
            " Choose another folder or delete it."
        )
    return True


def make_store(job: Job, team: Alone) -> None:
    """Make what is missing of a store, together with the team's other processes, and finish it.

    Raises:
        ValueError: Too many undecodable images, or the folder holds something else.
        OSError: The disk is full, the folder cannot be written, or another run is writing to it.
        TeamFailure: Another process failed.
    """
    leads = team.rank == 0
    existed = not leads or job.folder.exists()
    held = ExitStack()
    try:
        units = team.share(_prepare(job, team, held) if leads else None)
        if units is None:
            return
        if not leads:
            held.enter_context(FolderLock(job.folder, shared=True))
        progress = watch_progress(job.folder, job.layout.record_bytes, len(job.plan.keys))
        with progress if leads else nullcontext():
            run_job(job, team.draw(units), lambda count: team.add("undecodable", count))
            team.wait_for_all()
        if leads:
            finish_store(job.folder)
    except BaseException:
        if not existed and job.folder.exists() and not any(job.folder.iterdir()):
            job.folder.rmdir()
        raise
    finally:
        held.close()


def _prepare(job: Job, team: Alone, held: ExitStack) -> list[int] | None:
    """Units to be made, None when the store is finished; says what was found. `held` keeps other runs out."""
    if is_finished(job):
        print(f"{job.folder} is finished: nothing to do.")
        return None
    prepare_folder(job.folder)
    lock = held.enter_context(FolderLock(job.folder))
    remove_temporaries(job.folder)
    units = missing_units(job)
    if found := job.plan.num_units - len(units):
        print(f"Resuming {job.folder}: {found} of {job.plan.num_units} shards are whole.")
    team.add("undecodable", sum(len(footer["undecodable"]) for _, footer in complete_shards(job.folder)))
    lock.share()
    return units


def summary(folder: Path) -> dict[str, Any]:
    """Numbers of a store's shards added up: top1, top5, labelled, images, undecodable."""
    totals = {"top1": 0, "top5": 0, "labelled": 0, "images": 0, "undecodable": 0}
    for _, footer in complete_shards(folder):
        totals["images"] += footer["records"]
        totals["undecodable"] += len(footer["undecodable"])
        for name in ("top1", "top5", "labelled"):
            totals[name] += footer["counts"].get(name, 0)
    return totals
