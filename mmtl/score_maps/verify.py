"""Read a store completely and compare it with its checksums."""

import hashlib
from pathlib import Path

import numpy as np

from mmtl.score_maps.index import INDEX_NAME, build_index
from mmtl.score_maps.layout import CHECK_SUM, RecordLayout, layout_of
from mmtl.score_maps.manifest import MANIFEST_NAME, Manifest, ShardEntry, read_manifest, setting_difference
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.score_maps.shard import Shard, read_footer, read_records

HASH_CHUNK_BYTES = 1 << 22
SHA256_BYTES = 32


def find_problems(folder: Path) -> list[str]:
    """Return the problems of a store, each with its file; empty for an intact store.

    Checked: manifest, checksum and size of each shard and of the index, record checksums, class range, NaN,
    order of scores, and that the index leads to every key.
    """
    problems: list[str] = []
    try:
        manifest = read_manifest(folder)
        layout = layout_of(manifest.settings)
        for entry in manifest.shards:
            problems += _shard_problems(folder / entry.file, entry, layout)
        problems = problems or _setting_problems(folder, manifest)
        return problems + _index_problems(folder, manifest, layout, shards_are_intact=not problems)
    except (ScoreMapStoreError, OSError) as error:  # also: a file was truncated or removed while it was read
        return [*problems, str(error)]


def _setting_problems(folder: Path, manifest: Manifest) -> list[str]:
    """Return the differences between the manifest and the shards in settings and undecodable images."""
    problems, undecodable = [], []
    for entry in manifest.shards:
        footer = read_footer(folder / entry.file)
        undecodable += footer["undecodable"]
        if difference := setting_difference(footer["settings"], manifest.settings):
            problems.append(f"{folder / entry.file} and {MANIFEST_NAME} differ in {difference}.")
    if undecodable != manifest.undecodable:
        problems.append(f"{folder / MANIFEST_NAME} and the shards list different undecodable images.")
    return problems


def _shard_problems(path: Path, entry: ShardEntry, layout: RecordLayout) -> list[str]:
    if not path.is_file():
        return [f"{path} is missing."]
    size = path.stat().st_size
    if size != entry.bytes:
        return [f"{path} must have {entry.bytes} bytes as in the manifest, got {size}."]
    if _file_sha256(path, size - SHA256_BYTES) != entry.sha256:
        return [f"{path}: its SHA-256 differs from the manifest."]
    shard = Shard(path, layout)
    if (shard.records, shard.sha256) != (entry.records, entry.sha256):
        return [f"{path}: its footer or tail differs from the manifest."]
    problems = []
    for start, records in read_records(path, layout, shard.records):
        problems += _record_problems(path, start, records, layout)
    return problems


def _file_sha256(path: Path, num_bytes: int) -> str:
    """Return the hexadecimal SHA-256 of a file's first bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(min(HASH_CHUNK_BYTES, num_bytes)):
            digest.update(chunk)
            num_bytes -= len(chunk)
    return digest.hexdigest()


def _record_problems(path: Path, start: int, records: np.ndarray, layout: RecordLayout) -> list[str]:
    bad = {"its checksum is wrong": layout.sums(records) != CHECK_SUM}
    if layout.score_bits == 16:
        scores = records["scores"]
        bad["a score is NaN or infinite"] = ~np.isfinite(scores).all(axis=(1, 2, 3))
        bad["scores are not sorted"] = (scores[..., 1:] > scores[..., :-1]).any(axis=(1, 2, 3))
        if layout.log_norm:
            bad["a log_norm is NaN or infinite"] = ~np.isfinite(records["log_norm"]).all(axis=(1, 2))
    classes = layout.decode(records, records.shape).classes
    bad["a class is out of range"] = (classes >= layout.num_classes).any(axis=(1, 2, 3))
    return [f"{path}: record {start + row}: {reason}." for reason, rows in bad.items() for row in np.flatnonzero(rows)]


def _index_problems(folder: Path, manifest: Manifest, layout: RecordLayout, shards_are_intact: bool) -> list[str]:
    path = folder / INDEX_NAME
    if not path.is_file():
        return [f"{path} is missing."]
    if hashlib.sha256(path.read_bytes()).hexdigest() != manifest.index_sha256:
        return [f"{path}: its SHA-256 differs from the manifest."]
    if shards_are_intact:
        keys = (Shard(folder / entry.file, layout).all_key_bytes() for entry in manifest.shards)
        if hashlib.sha256(build_index(keys)).hexdigest() != manifest.index_sha256:
            return [f"{path} does not lead to the keys of the shards."]
    return []
