"""Annotate a folder of images and write the score maps into a store."""

import hashlib
import json
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmtl.annotators.annotator import Annotator
from mmtl.annotators.generate import DEFAULT_TOPK, Job, Options, Plan, run_job, unit_size
from mmtl.annotators.images import ResizedImages, common_size
from mmtl.annotators.progress import StoreProgress
from mmtl.annotators.work_queue import WorkQueue
from mmtl.score_maps.class_subset import read_classes
from mmtl.score_maps.class_table import ClassTable
from mmtl.score_maps.folder_lock import FolderLock
from mmtl.score_maps.layout import RecordLayout
from mmtl.score_maps.manifest import make_settings
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.score_maps.writer import (
    SHARD_BYTES,
    UNDECODABLE_NAME,
    complete_shards,
    finish_store,
    is_finished,
    prepare_folder,
    resume_store,
)
from mmtl.utils.image_files import class_folders, list_images, read_list


def annotate_folder(annotator: Annotator, images: Path, folder: Path, options: Options, queue: WorkQueue) -> None:
    """Annotate images together with the queue's other ranks, and print a summary; see `prepare_job`, `make_store`."""
    job = prepare_job(annotator, images, folder, options)
    make_store(job, queue)
    if queue.rank == 0:
        _print_summary(job)


def prepare_job(annotator: Annotator, root: Path, folder: Path, options: Options) -> Job:
    """Determine everything that is known before the first image is annotated.

    Raises:
        FileNotFoundError: The image root or a class folder contains no image.
        ValueError: Annotator and options do not fit together.
    """
    listed = dict(read_list(options.list_file, root) if options.list_file else ())
    keys = sorted(listed) or list_images(root, excluded=folder)
    size_hw = options.input_hw or annotator.size_hw or common_size(root, keys, annotator.description["name"])
    grid_hw, num_classes = annotator.output_shape(size_hw)
    if options.classes:
        table = ClassTable.of(annotator.description, num_classes, class_folders(keys))
        annotator = annotator.with_classes(subset := read_classes(options.classes, table))
        num_classes = len(subset.indices)
    topk = min(DEFAULT_TOPK, num_classes) if options.topk is None else options.topk
    layout = RecordLayout(num_classes, grid_hw, topk, score_bits=options.score_bits)
    plan = Plan(keys, options.shard_images or unit_size(len(keys), layout.record_bytes, SHARD_BYTES))
    preprocessing = {  # compared when a run is resumed
        "input_hw": size_hw,
        "interpolation": annotator.interpolation,
        "backend": annotator.backend,
        **annotator.normalization,
        **annotator.inference.describe(),
    }
    fingerprint = plan.fingerprint | _classes_sha256(annotator)
    return Job(
        annotator=annotator,
        images=ResizedImages(root, keys, annotator.resize(size_hw)),
        plan=plan,
        labels=np.array([listed[key] for key in keys])
        if listed
        else _folder_labels(keys, annotator.description, num_classes),
        layout=layout,
        settings=make_settings(layout, annotator.description, preprocessing, plan=fingerprint),
        folder=folder,
        options=options,
    )


def _classes_sha256(annotator: Annotator) -> dict[str, str]:
    """Return what a subset of the annotator's classes adds to the plan's fingerprint."""
    if annotator.subset is None:
        return {}
    return {"classes_sha256": hashlib.sha256(json.dumps(asdict(annotator.subset)).encode()).hexdigest()}


def _folder_labels(keys: list[str], description: dict[str, Any], num_classes: int) -> np.ndarray:
    """Return the class index of each key's folder, -1 for unknown ones; see `ClassTable.of_folders`."""
    folders = class_folders(keys)
    labels = ClassTable.of(description, num_classes, folders).of_folders(folders)
    return np.array([labels.get(key.split("/")[0], -1) for key in keys])


def make_store(job: Job, queue: WorkQueue) -> None:
    """Make the missing shards of a store together with the queue's other ranks, and finish the store.

    Raises:
        ValueError: There are too many undecodable images, or the folder holds something else.
        OSError: The disk is full, the folder cannot be written, or another run is writing to it.
        RankFailure: Another rank failed.
    """
    is_main = queue.rank == 0
    existed = not is_main or job.folder.exists()
    with ExitStack() as locks:
        try:
            units = queue.broadcast(_prepare_folder(job, queue, locks) if is_main else None)
            if units is None:
                return
            if not is_main:
                locks.enter_context(FolderLock(job.folder, shared=True))
            progress = StoreProgress(job.folder, job.layout.record_bytes, len(job.plan.keys))
            with progress if is_main else nullcontext():
                run_job(job, queue.claim(units), lambda count: queue.add_to_counter("undecodable", count))
                queue.barrier()
            if is_main:
                finish_store(job.folder)
        except BaseException:
            if not existed and job.folder.exists() and not any(job.folder.iterdir()):
                job.folder.rmdir()
            raise


def _prepare_folder(job: Job, queue: WorkQueue, locks: ExitStack) -> list[int] | None:
    """Lock the folder against other runs, and return the missing units; None if the store is finished."""
    if is_finished(job.folder, job.settings):
        if not any(_is_repaired(job, footer) for footer in _checked_shards(job)):
            print(f"{job.folder} is finished: nothing to do.")
            return None
    else:
        prepare_folder(job.folder)
    lock = locks.enter_context(FolderLock(job.folder))
    resume_store(job.folder, job.settings)
    shards = [footer for footer in _checked_shards(job) if not _is_repaired(job, footer)]
    if shards:
        print(f"Resuming {job.folder}: {len(shards)} of {job.plan.num_units} shards are complete.")
    queue.add_to_counter("undecodable", sum(len(footer["undecodable"]) for footer in shards))
    lock.share()
    return sorted(set(range(job.plan.num_units)) - {footer["unit"] for footer in shards})


def _checked_shards(job: Job) -> list[dict]:
    """Return the footers of the complete shards after a check that their images are still the same."""
    footers = []
    for path, footer in complete_shards(job.folder):
        now = job.images_sha256(footer["unit"], footer["undecodable"])
        if footer.get("images_sha256", now) != now:  # shards of former versions have none
            raise ScoreMapStoreError(
                f"{path}: images in {job.images.root} have changed since their maps were made (size or time)."
                " Delete the shard to annotate its images again, or choose another folder."
            )
        footers.append(footer)
    return footers


def _is_repaired(job: Job, footer: dict) -> bool:
    """Return whether an image that could not be decoded for a shard can be decoded now."""
    return any(job.images.resize(job.images.root / key) is not None for key in footer["undecodable"])


def summary(folder: Path) -> dict[str, int]:
    """Return sums over a store's shards: top1, top5, labelled, images, undecodable."""
    footers = [footer for _, footer in complete_shards(folder)]
    totals = {name: sum(footer["counts"].get(name, 0) for footer in footers) for name in ("top1", "top5", "labelled")}
    totals["images"] = sum(footer["records"] for footer in footers)
    totals["undecodable"] = sum(len(footer["undecodable"]) for footer in footers)
    return totals


def _print_summary(job: Job) -> None:
    """Print the size of a finished store, and the annotator's accuracy if class folders determine it."""
    layout, totals = job.layout, summary(job.folder)
    height, width = layout.grid_hw
    print(f"{totals['images']} score maps of {height} x {width} cells, top {layout.topk}, in {job.folder}")
    if totals["undecodable"]:
        print(f"{totals['undecodable']} images could not be decoded: {job.folder / UNDECODABLE_NAME}")
    if labelled := totals["labelled"]:
        top1, top5 = (100 * totals[name] / labelled for name in ("top1", "top5"))
        known = "" if labelled == totals["images"] else f", of the {labelled} images whose class folder is known"
        also = f", top-5 {top5:.2f} %" * (layout.num_classes > 5)
        print(f"The annotator's own accuracy on the class folders: top-1 {top1:.2f} %{also}{known}")
    else:
        print(
            "Top-1 of the annotator: unknown, as class folders must have names of its classes, or be"
            f" {layout.num_classes} if it knows none."
        )
