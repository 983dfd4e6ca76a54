"""Make a store of a part of the classes of another store."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from mmtl.score_maps.class_subset import ClassSubset
from mmtl.score_maps.folder_lock import FolderLock
from mmtl.score_maps.layout import RecordLayout, layout_of
from mmtl.score_maps.manifest import make_settings, read_manifest
from mmtl.score_maps.shard import Shard, ShardWriter, shard_name
from mmtl.score_maps.transfer import all_shards
from mmtl.score_maps.writer import complete_shards, finish_store, is_finished, prepare_folder, resume_store

CELLS, LOST = "cells", "cells_without_class"  # counts in the footers of shards
MAPS_PER_CHUNK = 256


def select_store(path: Path, target: Path, subset: ClassSubset) -> float:
    """Write a store whose maps list only classes of a subset; a killed call is repeated by the same one.

    Maps have a log_norm if those of the source do and list all classes; see `ClassSubset.select`.

    Returns:
        Share of cells in which none of the listed classes is in the subset.

    Raises:
        ScoreMapStoreError: A shard is missing, or the target has shards with other settings.
        FileExistsError: The target contains something else.
    """
    shards, manifest = all_shards(path), read_manifest(path)
    source = layout_of(manifest.settings)
    num_classes = len(subset.indices)
    log_norm = source.log_norm and source.topk == source.num_classes
    layout = RecordLayout(num_classes, source.grid_hw, min(source.topk, num_classes), log_norm, source.score_bits)
    settings = make_settings(
        layout,
        subset.describe(manifest.settings["annotator"]),
        manifest.settings["preprocessing"],
        manifest.coverage,
        plan={"selected_from": hashlib.sha256("".join(each["sha256"] for _, each in shards).encode()).hexdigest()},
    )
    if not is_finished(target, settings):
        prepare_folder(target)
        with FolderLock(target), _removed_if_empty(target):
            done = {footer["unit"] for _, footer in resume_store(target, settings)}
            for shard, footer in shards:
                if footer["unit"] not in done:
                    writer = ShardWriter(target / shard_name(footer["unit"]), layout)
                    counts = _select_shard(Shard(shard, source), writer, subset)
                    writer.finish(settings, footer["unit"], footer["undecodable"], counts)
            finish_store(target)
    counts = [footer["counts"] for _, footer in complete_shards(target)]
    return sum(each[LOST] for each in counts) / sum(each[CELLS] for each in counts)


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):  # it has complete shards
            folder.rmdir()
        raise


def _select_shard(shard: Shard, writer: ShardWriter, subset: ClassSubset) -> dict[str, int]:
    """Add the maps of a shard to the writer of another one, and return how many cells list a class of the subset."""
    keys, counts = shard.keys(), {CELLS: 0, LOST: 0}
    try:
        for start in range(0, shard.records, MAPS_PER_CHUNK):
            rows = list(range(start, min(start + MAPS_PER_CHUNK, shard.records)))
            selected, kept = subset.select(shard.layout.decode(shard.read_words(rows), (len(rows),)))
            writer.add(list(islice(keys, len(rows))), writer.layout.encode(*selected))
            counts[CELLS] += kept.size
            counts[LOST] += int((~kept).sum())
    except BaseException:
        writer.abort()
        raise
    return counts
