"""Compute score maps and write them into shards."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from mmtl.annotators.annotator import Annotator
from mmtl.annotators.images import ResizedImages, collate
from mmtl.annotators.plan import Plan
from mmtl.score_maps.layout import RecordLayout
from mmtl.score_maps.shard import ShardWriter, shard_name

QUEUED_BATCHES = 4


@dataclass
class Job:
    """One run of the generator.

    Attributes:
        annotator: the annotator.
        images: the images in the order of ``plan.keys``.
        plan: which images go into which shard.
        labels: class index of each image, or None if the class folders do not determine it.
        layout: layout of the records.
        settings: settings that are saved in every shard.
        folder: folder of the store.
        batch_size: images per forward pass.
        workers: number of processes that decode images.
        allowed_undecodable: number of undecodable images above which the run stops.
    """

    annotator: Annotator
    images: ResizedImages
    plan: Plan
    labels: np.ndarray | None
    layout: RecordLayout
    settings: dict[str, Any]
    folder: Path
    batch_size: int
    workers: int
    allowed_undecodable: int


def top_classes(logits: torch.Tensor, topk: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the top-k classes of every cell.

    Args:
        logits: float32 [B, h, w, K].
        topk: k.

    Returns:
        Logits [B, h, w, k] in descending order; classes [B, h, w, k]; log-sum-exp over all classes [B, h, w].
    """
    scores, classes = logits.topk(topk, dim=-1)
    return scores, classes, logits.logsumexp(dim=-1)


def pooled_hits(logits: torch.Tensor, labels: torch.Tensor) -> tuple[int, int]:
    """Return how often the label is the top-1 class, and among the top 5, of the logits averaged over the cells."""
    pooled = logits.mean(dim=(1, 2))
    top = pooled.topk(min(5, pooled.shape[1]), dim=-1).indices
    hits = top == labels[:, None]
    return int(hits[:, 0].sum()), int(hits.any(dim=1).sum())


def run_job(job: Job, units: Iterable[int], count_undecodable: Callable[[int], int]) -> None:
    """Annotate work units one after another, while workers decode and a thread writes.

    Args:
        job: the images and where their maps go.
        units: numbers of the units, claimed as they are needed.
        count_undecodable: adds to the number of undecodable images of all ranks and returns the sum.

    Raises:
        ValueError: Too many images cannot be decoded.
        OSError: A shard cannot be written.
    """
    batches = DataLoader(
        job.images,
        batch_sampler=_batches(job, units),
        num_workers=job.workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
    )
    computed: queue.Queue = queue.Queue(QUEUED_BATCHES)
    writer = _WriterThread(job, computed, count_undecodable)
    writer.start()
    try:
        for indices, decoded, images in batches:
            if writer.error is not None:
                break
            maps, counts = annotate(job, decoded, images) if decoded else (None, {})
            computed.put((indices, decoded, maps, counts))
    finally:
        computed.put(None)
        writer.join()
    if writer.error is not None:
        raise writer.error


def annotate(job: Job, indices: list[int], images: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], dict[str, int]]:
    """Return the top classes of a batch, and how often the annotator's prediction was right."""
    logits = job.annotator.logits(images)
    counts = {}
    if job.labels is not None:
        labels = torch.from_numpy(job.labels[indices]).to(logits.device)
        top1, top5 = pooled_hits(logits, labels)
        counts = {"top1": top1, "top5": top5, "labelled": len(indices)}
    return top_classes(logits, job.layout.topk), counts


def _batches(job: Job, units: Iterable[int]) -> Iterator[list[int]]:
    """Yield the indices of batches within units, so that their content does not depend on which rank computes them."""
    for number in units:
        indices = job.plan.unit(number)
        for start in range(0, len(indices), job.batch_size):
            yield list(indices[start : start + job.batch_size])


@dataclass
class _Unit:
    """A shard that is being written."""

    number: int
    writer: ShardWriter
    remaining: int
    undecodable: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"top1": 0, "top5": 0, "labelled": 0})


class _WriterThread(threading.Thread):
    """Encode and write while the next batch is computed; after an error only empty the queue."""

    def __init__(self, job: Job, batches: queue.Queue, count_undecodable: Callable[[int], int]) -> None:
        super().__init__(daemon=True)
        self.job, self.batches, self.count_undecodable = job, batches, count_undecodable
        self.unit: _Unit | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        while (batch := self.batches.get()) is not None:
            if self.error is None:
                try:
                    self._write(*batch)
                except Exception as error:  # raised by the main thread
                    self.error = error
        if self.unit is not None:
            self.unit.writer.abort()

    def _write(
        self, indices: list[int], decoded: list[int], maps: tuple[torch.Tensor, ...] | None, counts: dict[str, int]
    ) -> None:
        keys = self.job.plan.keys
        unit = self.unit or self._start(indices[0] // self.job.plan.unit_size)
        self._record_undecodable(unit, [keys[index] for index in sorted(set(indices) - set(decoded))])
        if maps is not None:
            records = self.job.layout.encode(*(part.cpu().numpy() for part in maps))
            unit.writer.add([keys[index] for index in decoded], records)
        for name, count in counts.items():
            unit.counts[name] += count
        unit.remaining -= len(indices)
        unit.writer.flush()
        if unit.remaining == 0:
            unit.writer.finish(self.job.settings, unit.number, unit.undecodable, unit.counts)
            self.unit = None

    def _start(self, number: int) -> _Unit:
        writer = ShardWriter(self.job.folder / shard_name(number), self.job.layout)
        self.unit = _Unit(number, writer, remaining=len(self.job.plan.unit(number)))
        return self.unit

    def _record_undecodable(self, unit: _Unit, keys: list[str]) -> None:
        if not keys:
            return
        unit.undecodable += keys
        count, allowed = self.count_undecodable(len(keys)), self.job.allowed_undecodable
        if count > allowed:
            raise ValueError(
                f"{self.job.images.root / keys[-1]} cannot be decoded: at most {allowed} of {len(self.job.plan.keys)}"
                f" images may be undecodable, got {count} so far. Repair or remove them, or raise --max-undecodable."
            )
