"""Read a store completely and compare it with its checksums."""

import hashlib
from pathlib import Path

import numpy as np

from mmtl.score_maps.index import INDEX_NAME, build_index
from mmtl.score_maps.layout import CHECK_SUM, RecordLayout, layout_of
from mmtl.score_maps.manifest import MANIFEST_NAME, Manifest, ShardEntry, read_manifest, setting_difference
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.score_maps.shard import TAIL_BYTES, Shard, file_sha256, read_footer, read_records


def find_problems(folder: Path) -> list[str]:
    """Return the problems of a store, each with its file; empty for an intact store.

    Checked: manifest, checksum and size of each shard and of the index, record checksums, class range, NaN,
    order of scores, and that the index leads to every key.
    """
    try:
        manifest = read_manifest(folder)
    except (ScoreMapStoreError, FileNotFoundError) as error:
        return [str(error)]
    layout = layout_of(manifest.settings)
    problems = []
    try:
        for entry in manifest.shards:
            problems += shard_problems(folder / entry.file, entry, layout)
        problems = problems or _setting_problems(folder, manifest)
        return problems + _index_problems(folder, manifest, layout, shards_are_intact=not problems)
    except (ScoreMapStoreError, OSError) as error:  # a file was truncated or removed while it was read
        return [*problems, str(error)]


def _setting_problems(folder: Path, manifest: Manifest) -> list[str]:
    """Return the differences between the manifest and the shards in settings and undecodable images."""
    footers = {entry.file: read_footer(folder / entry.file) for entry in manifest.shards}
    problems = [
        f"{folder / file} and {MANIFEST_NAME} differ in {difference}."
        for file, footer in footers.items()
        if (difference := setting_difference(footer["settings"], manifest.settings))
    ]
    if [key for footer in footers.values() for key in footer["undecodable"]] != manifest.undecodable:
        problems.append(f"{folder / MANIFEST_NAME} and the shards list different undecodable images.")
    return problems


def shard_problems(path: Path, entry: ShardEntry, layout: RecordLayout) -> list[str]:
    """Return the problems of one shard."""
    if not path.is_file():
        return [f"{path} is missing."]
    size = path.stat().st_size
    if size != entry.bytes:
        return [f"{path} must have {entry.bytes} bytes as in the manifest, got {size}."]
    if file_sha256(path, size - TAIL_BYTES + 8) != entry.sha256:
        return [f"{path}: its SHA-256 differs from the manifest."]
    shard = Shard(path, layout)
    if (shard.records, shard.sha256) != (entry.records, entry.sha256):
        return [f"{path}: its footer or tail differs from the manifest."]
    problems = []
    for start, records in read_records(path, layout, shard.records):
        problems += _record_problems(path, start, records, layout)
    return problems


def _record_problems(path: Path, start: int, records: np.ndarray, layout: RecordLayout) -> list[str]:
    bad = {"its checksum is wrong": layout.sums(records) != CHECK_SUM}
    if layout.score_bits == 16:
        flat = records["scores"].reshape(len(records), -1, layout.topk)
        bad["a score is NaN or infinite"] = ~np.isfinite(flat).all(axis=(1, 2))
        bad["scores are not sorted"] = (flat[..., 1:] > flat[..., :-1]).any(axis=(1, 2))
        if layout.log_norm:
            bad["a log_norm is NaN or infinite"] = ~np.isfinite(records["log_norm"]).all(axis=(1, 2))
    classes = layout.decode(records, records.shape).classes
    bad["a class is out of range"] = (classes >= layout.num_classes).any(axis=(1, 2, 3))
    return [f"{path}: record {start + row}: {reason}." for reason, rows in bad.items() for row in np.flatnonzero(rows)]


def _index_problems(folder: Path, manifest: Manifest, layout: RecordLayout, shards_are_intact: bool) -> list[str]:
    path = folder / INDEX_NAME
    if not path.is_file():
        return [f"{path} is missing."]
    if file_sha256(path) != manifest.index_sha256:
        return [f"{path}: its SHA-256 differs from the manifest."]
    if shards_are_intact:
        keys = (Shard(folder / entry.file, layout).all_key_bytes() for entry in manifest.shards)
        if hashlib.sha256(build_index(keys)).hexdigest() != manifest.index_sha256:
            return [f"{path} does not lead to the keys of the shards."]
    return []
