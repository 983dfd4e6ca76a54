"""Making score maps: images in, shards out."""

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
from mmtl.annotators.images import SquashedImages, collate
from mmtl.annotators.plan import Plan
from mmtl.score_maps.layout import RecordLayout
from mmtl.score_maps.shard import ShardWriter, shard_name

QUEUED_BATCHES = 4


@dataclass
class Job:
    """One run of the generator.

    Attributes:
        annotator: What annotates.
        images: The images in the order of `plan.keys`.
        plan: Which images go into which shard.
        labels: Class index of each image, or None when the class folders do not tell.
        layout: Layout of the records.
        settings: Settings kept in every shard.
        folder: Folder of the store.
        batch_size: Images per forward pass.
        workers: Processes that decode images.
        allowed_undecodable: Stop when more images than this cannot be decoded.
    """

    annotator: Annotator
    images: SquashedImages
    plan: Plan
    labels: np.ndarray | None
    layout: RecordLayout
    settings: dict[str, Any]
    folder: Path
    batch_size: int
    workers: int
    allowed_undecodable: int


def top_classes(logits: torch.Tensor, topk: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The k best classes of every cell.

    Args:
        logits: float32 [B, h, w, K].
        topk: k.

    Returns:
        Logits [B, h, w, k], best first; classes [B, h, w, k]; log-sum-exp over all classes [B, h, w].
    """
    scores, classes = logits.topk(topk, dim=-1)
    return scores, classes, logits.logsumexp(dim=-1)


def pooled_hits(logits: torch.Tensor, labels: torch.Tensor) -> tuple[int, int]:
    """How often the mean of the logits over the cells has the label first, and among its first five."""
    pooled = logits.mean(dim=(1, 2))
    best = pooled.topk(min(5, pooled.shape[1]), dim=-1).indices
    hits = best == labels[:, None]
    return int(hits[:, 0].sum()), int(hits.any(dim=1).sum())


@dataclass
class _Unit:
    """A shard in the making."""

    number: int
    writer: ShardWriter
    left: int
    undecodable: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"top1": 0, "top5": 0, "labelled": 0})


def run_job(job: Job, units: Iterable[int], count_undecodable: Callable[[int], int]) -> None:
    """Annotate work units one after another, decoding ahead and writing behind.

    Args:
        job: What to do.
        units: Numbers of the units, drawn as they are needed.
        count_undecodable: Adds to the number of undecodable images of all processes and gives the sum.

    Raises:
        ValueError: Too many images could not be decoded.
        OSError: A shard could not be written.
    """
    batches = DataLoader(
        job.images,
        batch_sampler=_batches(job, units),
        num_workers=job.workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
    )
    written: queue.Queue = queue.Queue(QUEUED_BATCHES)
    writer = _WriterThread(job, written, count_undecodable)
    writer.start()
    try:
        for wanted, indices, images in batches:
            if writer.error is not None:
                break
            written.put((wanted, indices, *(annotate(job, indices, images) if indices else (None, None))))
    finally:
        written.put(None)
        writer.join()
    if writer.error is not None:
        raise writer.error


def annotate(job: Job, indices: list[int], images: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], dict[str, int]]:
    """Top classes of a batch, and how often the annotator was right on it."""
    logits = job.annotator.logits(images)
    counts = {}
    if job.labels is not None:
        labels = torch.from_numpy(job.labels[indices]).to(logits.device)
        top1, top5 = pooled_hits(logits, labels)
        counts = {"top1": top1, "top5": top5, "labelled": len(indices)}
    return top_classes(logits, job.layout.topk), counts


def _batches(job: Job, units: Iterable[int]) -> Iterator[list[int]]:
    """Batches that do not cross units, so that their make-up does not depend on who runs them."""
    for number in units:
        places = job.plan.unit(number)
        for start in range(0, len(places), job.batch_size):
            yield list(places[start : start + job.batch_size])


class _WriterThread(threading.Thread):
    """Encodes and writes while the next batch is computed; after an error it only empties the queue."""

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
                except Exception as error:  # handed to the main thread, which raises it
                    self.error = error
        if self.unit is not None:
            self.unit.writer.abort()

    def _write(
        self, wanted: list[int], indices: list[int], maps: tuple[torch.Tensor, ...] | None, counts: dict | None
    ) -> None:
        unit = self.unit or self._start(wanted[0] // self.job.plan.unit_size)
        self._note_undecodable(unit, sorted(set(wanted) - set(indices)))
        if maps is not None:
            scores, classes, log_norm = (part.cpu().numpy() for part in maps)
            records = self.job.layout.encode(scores, classes, log_norm)
            unit.writer.add([self.job.plan.keys[index] for index in indices], records)
            for name, count in counts.items():
                unit.counts[name] += count
        unit.left -= len(wanted)
        unit.writer.flush()
        if unit.left == 0:
            unit.writer.finish(self.job.settings, unit.number, unit.undecodable, unit.counts)
            self.unit = None

    def _start(self, number: int) -> _Unit:
        writer = ShardWriter(self.job.folder / shard_name(number), self.job.layout)
        self.unit = _Unit(number, writer, left=len(self.job.plan.unit(number)))
        return self.unit

    def _note_undecodable(self, unit: _Unit, indices: list[int]) -> None:
        if not indices:
            return
        unit.undecodable += [self.job.plan.keys[index] for index in indices]
        count = self.count_undecodable(len(indices))
        if count > self.job.allowed_undecodable:
            raise ValueError(
                f"{self.job.images.root / unit.undecodable[-1]} cannot be decoded, and more such images than allowed"
                f" were met ({count} of {len(self.job.plan.keys)} so far). Repair or remove them, or raise"
                " --max-undecodable."
            )
