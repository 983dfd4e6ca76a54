"""Plan which images go into which shard, compute their score maps and write them."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from mmtl.annotators.annotator import Annotator
from mmtl.annotators.images import ResizedImages, collate
from mmtl.score_maps.layout import RecordLayout
from mmtl.score_maps.shard import ShardWriter, shard_name
from mmtl.utils.image_files import files_sha256
from mmtl.utils.processes import silence_worker

QUEUED_BATCHES = 4
TARGET_UNITS = 64
SMALLEST_UNIT = 1024
DEFAULT_TOPK = 5


@dataclass(frozen=True)
class Plan:
    """Sorted image keys, divided into work units of `unit_size` images; one rank writes a unit as one shard."""

    keys: Sequence[str]
    unit_size: int

    @property
    def num_units(self) -> int:
        """Number of units."""
        return ceil(len(self.keys) / self.unit_size)

    def unit(self, number: int) -> range:
        """Return the indices in ``keys`` of a unit's images."""
        return range(len(self.keys))[number * self.unit_size :][: self.unit_size]

    @property
    def fingerprint(self) -> dict[str, int | str]:
        """What must be equal for one run to resume another."""
        digest = hashlib.sha256("\0".join(self.keys).encode("utf-8", "surrogateescape")).hexdigest()
        return {"images": len(self.keys), "images_per_shard": self.unit_size, "keys_sha256": digest}


def unit_size(num_images: int, record_bytes: int, shard_bytes: int) -> int:
    """Return images per unit: about 64 units, so that ranks can share them and a kill loses little."""
    return max(1, min(shard_bytes // record_bytes, max(SMALLEST_UNIT, ceil(num_images / TARGET_UNITS))))


@dataclass(frozen=True)
class Options:
    """How score maps are made."""

    topk: int | None = None  # classes listed per cell; None: 5, or all if there are fewer
    batch_size: int = 64
    workers: int = 2  # processes that decode images
    input_hw: tuple[int, int] | None = None  # None: the annotator's own
    max_undecodable: float = 0.001  # share of the images
    shard_images: int | None = None  # None: chosen
    score_bits: int = 16  # 8: compact form
    classes: Path | None = None  # file of the classes to keep, see `read_classes`; None: all
    list_file: Path | None = None  # list of the images, see `read_list`; None: all


@dataclass
class Job:
    """One run of the generator."""

    annotator: Annotator
    images: ResizedImages  # in the order of plan.keys
    plan: Plan
    labels: np.ndarray  # class index of each image by its class folder, -1 if that is unknown
    layout: RecordLayout
    settings: dict[str, Any]  # saved in every shard
    folder: Path
    options: Options

    def images_sha256(self, unit: int, undecodable: Collection[str]) -> str:
        """Return a digest of the sizes and times of a unit's images, without those that cannot be decoded."""
        without = set(undecodable)
        names = (self.plan.keys[index] for index in self.plan.unit(unit))
        return files_sha256(self.images.root, (name for name in names if name not in without))

    @property
    def allowed_undecodable(self) -> int:
        """Number of undecodable images above which the run stops."""
        return int(self.options.max_undecodable * len(self.plan.keys))


def top_classes(logits: torch.Tensor, topk: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the top-k classes of every cell for logits [B, h, w, K].

    Returns:
        Logits [B, h, w, k] in descending order; classes [B, h, w, k]; log-sum-exp over all classes [B, h, w].
    """
    scores, classes = logits.topk(topk, dim=-1)
    return scores, classes, logits.logsumexp(dim=-1)


def run_job(job: Job, units: Iterable[int], count_undecodable: Callable[[int], int]) -> None:
    """Annotate work units, claimed as they are needed, while workers decode and a thread writes.

    `count_undecodable` adds to the number of undecodable images of all ranks and returns the sum.

    Raises:
        ValueError: Too many images cannot be decoded.
        OSError: A shard cannot be written.
    """
    batches = DataLoader(
        job.images,
        batch_sampler=_batches(job, units),
        num_workers=job.options.workers,
        collate_fn=collate,
        worker_init_fn=silence_worker,
        pin_memory=torch.cuda.is_available(),
    )
    units_writer = _UnitsWriter(job, count_undecodable)
    writes, last = deque(), None
    try:
        with ThreadPoolExecutor(1) as thread:
            for indices, decoded, images in batches:
                maps, counts = annotate(job, decoded, images) if decoded else (None, {})
                last = thread.submit(units_writer.write, last, indices, decoded, maps, counts)
                writes.append(last)
                while writes and (len(writes) > QUEUED_BATCHES or writes[0].done()):
                    writes.popleft().result()
        for write in writes:
            write.result()
    finally:
        units_writer.abort()


def annotate(job: Job, indices: list[int], images: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], dict[str, int]]:
    """Return the top classes of a batch, and how often the label is among the top classes of the mean logits."""
    logits = job.annotator.logits(images)
    labels = torch.from_numpy(job.labels[indices]).to(logits.device)
    pooled = logits.mean(dim=(1, 2))
    hits = pooled.topk(min(5, pooled.shape[1]), dim=-1).indices == labels[:, None]
    counts = {"top1": int(hits[:, 0].sum()), "top5": int(hits.sum()), "labelled": int((labels >= 0).sum())}
    return top_classes(logits, job.layout.topk), counts


def _batches(job: Job, units: Iterable[int]) -> Iterator[list[int]]:
    """Yield the indices of batches within units, so that their content does not depend on which rank computes them."""
    for number in units:
        indices = job.plan.unit(number)
        for start in range(0, len(indices), job.options.batch_size):
            yield list(indices[start : start + job.options.batch_size])


class _UnitsWriter:
    """Encodes and writes batches in their order, each unit as a shard."""

    def __init__(self, job: Job, count_undecodable: Callable[[int], int]) -> None:
        self.job, self.count_undecodable = job, count_undecodable
        self.shard: ShardWriter | None = None

    def write(
        self,
        previous: Future | None,
        indices: list[int],
        decoded: list[int],
        maps: tuple[torch.Tensor, ...] | None,
        counts: dict[str, int],
    ) -> None:
        if previous is not None:
            previous.result()  # after an error nothing more is written
        job, keys = self.job, self.job.plan.keys
        number = indices[0] // job.plan.unit_size
        if self.shard is None:
            self.shard = ShardWriter(job.folder / shard_name(number), job.layout)
            self.undecodable: list[str] = []
            self.counts = Counter(top1=0, top5=0, labelled=0)
        self._record_undecodable([keys[index] for index in sorted(set(indices) - set(decoded))])
        if maps is not None:
            records = job.layout.encode(*(part.cpu().numpy() for part in maps))
            self.shard.add([keys[index] for index in decoded], records)
        self.counts.update(counts)
        self.shard.flush()
        if indices[-1] == job.plan.unit(number)[-1]:
            images_sha256 = job.images_sha256(number, self.undecodable)
            self.shard.finish(job.settings, number, self.undecodable, self.counts, images_sha256)
            self.shard = None

    def abort(self) -> None:
        if self.shard is not None:
            self.shard.abort()

    def _record_undecodable(self, keys: list[str]) -> None:
        if not keys:
            return
        self.undecodable += keys
        count, allowed = self.count_undecodable(len(keys)), self.job.allowed_undecodable
        if count > allowed:
            listed = self.job.options.list_file
            remove = f"delete their lines in {listed}" if listed else "remove them"
            raise ValueError(
                f"{self.job.images.root / keys[-1]} cannot be decoded: at most {allowed} of {len(self.job.plan.keys)}"
                f" images may be undecodable, got {count} so far. Repair them, {remove}, or raise --max-undecodable."
            )
