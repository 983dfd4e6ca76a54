"""Reading a whole store and comparing it with its checksums."""

import hashlib
from pathlib import Path

import numpy as np

from mmtl.score_maps.index import INDEX_NAME, build_index
from mmtl.score_maps.layout import CHECK_SUM, RecordLayout, layout_of
from mmtl.score_maps.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardEntry,
    read_manifest,
    setting_difference,
)
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.score_maps.shard import TAIL_BYTES, Shard, file_sha256, read_footer, read_records


def find_problems(folder: Path) -> list[str]:
    """Problems of a store, each naming its file; empty when whole.

    Checked: manifest, checksum and length of each shard and of the index, record checks, class range, NaN,
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
        return problems + _index_problems(folder, manifest, layout, shards_are_whole=not problems)
    except (ScoreMapStoreError, OSError) as error:  # a file was cut or taken away while it was read
        return [*problems, str(error)]


def _setting_problems(folder: Path, manifest: Manifest) -> list[str]:
    """Shards that were made with other settings than the manifest states, or list other undecodable images."""
    footers = {entry.file: read_footer(folder / entry.file) for entry in manifest.shards}
    problems = [
        f"{folder / file} and {MANIFEST_NAME} differ in {difference}."
        for file, footer in footers.items()
        if (difference := setting_difference(footer["settings"], manifest.settings))
    ]
    if [key for footer in footers.values() for key in footer["undecodable"]] != manifest.undecodable:
        problems.append(f"{folder / MANIFEST_NAME} lists other undecodable images than the shards.")
    return problems


def shard_problems(path: Path, entry: ShardEntry, layout: RecordLayout) -> list[str]:
    """Problems of one shard."""
    if not path.is_file():
        return [f"{path} is missing."]
    size = path.stat().st_size
    if size != entry.bytes:
        return [f"{path} is {size} bytes long, the manifest says {entry.bytes}."]
    if file_sha256(path, size - TAIL_BYTES + 8) != entry.sha256:
        return [f"{path}: its SHA-256 is not the one in the manifest."]
    shard = Shard(path, layout)
    if (shard.records, shard.sha256) != (entry.records, entry.sha256):
        return [f"{path}: its footer or tail differs from the manifest."]
    problems = []
    for start, records in read_records(path, layout, shard.records):
        problems += _record_problems(path, start, records, layout)
    return problems


def _record_problems(path: Path, start: int, records: np.ndarray, layout: RecordLayout) -> list[str]:
    words = records.view("<u8").reshape(len(records), -1)
    bad = {"its check sum does not hold": words @ layout.weights != CHECK_SUM}
    if layout.score_bits == 16:
        flat = records["scores"].reshape(len(records), -1, layout.topk)
        bad["a score is NaN or infinite"] = ~np.isfinite(flat).all(axis=(1, 2))
        bad["scores are not sorted"] = (flat[..., 1:] > flat[..., :-1]).any(axis=(1, 2))
        if layout.log_norm:
            bad["a log_norm is NaN or infinite"] = ~np.isfinite(records["log_norm"]).all(axis=(1, 2))
    classes = layout.decode(records, records.shape).classes
    bad["a class is out of range"] = (classes >= layout.num_classes).any(axis=(1, 2, 3))
    return [f"{path}: record {start + row}: {reason}." for reason, rows in bad.items() for row in np.flatnonzero(rows)]


def _index_problems(folder: Path, manifest: Manifest, layout: RecordLayout, shards_are_whole: bool) -> list[str]:
    path = folder / INDEX_NAME
    if not path.is_file():
        return [f"{path} is missing."]
    if file_sha256(path) != manifest.index_sha256:
        return [f"{path}: its SHA-256 is not the one in the manifest."]
    if shards_are_whole:
        shards = [Shard(folder / entry.file, layout) for entry in manifest.shards]
        keys = (shard.all_key_bytes() for shard in shards)
        if hashlib.sha256(build_index(keys)).hexdigest() != manifest.index_sha256:
            return [f"{path} does not lead to the keys of the shards."]
    return []
