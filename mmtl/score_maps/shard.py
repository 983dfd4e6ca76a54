"""One shard file: records, their keys, a footer that describes them, and a checksum.

    header   64 bytes: magic, zeros
    records  n x record_bytes
    keys     n + 1 offsets (uint32), then the concatenated UTF-8 keys, padded to eight bytes
    footer   JSON: settings of the store, number of records, key bytes, work unit, undecodable images
    tail     footer length (uint64), SHA-256 of everything before the SHA-256

A shard is written atomically.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmtl.score_maps.layout import Buffer, RecordLayout, check_fields, layout_of
from mmtl.score_maps.mapped_file import MappedFile
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.utils.atomic_file import atomic_file, name_disk_errors, temporary_path

MAGIC = b"mmtl-score-maps\x01"
HEADER_BYTES = 64
TAIL_BYTES = 40
RECORDS_PER_CHUNK = 1024
RESTORE = "Restore the shard, or delete it and make it again."


def shard_name(unit: int) -> str:
    """Return the file name of the shard of a work unit."""
    return f"shard-{unit:05d}.bin"


class ShardWriter:
    """Writes one shard under a temporary name; it gets its own name, `path`, in `finish`."""

    def __init__(self, path: Path, layout: RecordLayout) -> None:
        self.path, self.layout = Path(os.path.realpath(path)), layout
        self.temporary = temporary_path(self.path)
        self.keys: list[bytes] = []
        self._digest = hashlib.sha256()
        self.path.parent.mkdir(parents=True, exist_ok=True)  # of a link whose target is gone
        self._file = self.temporary.open("wb")
        self._write(MAGIC.ljust(HEADER_BYTES, b"\0"))

    def add(self, keys: list[str], records: np.ndarray) -> None:
        """Append encoded records (structured array [B]) with their keys."""
        self._write(records.tobytes())
        self.keys += [key.encode() for key in keys]

    def flush(self) -> None:
        """Flush to the file, whose size shows the progress."""
        with name_disk_errors(self.temporary):
            self._file.flush()

    def finish(
        self,
        settings: dict[str, Any],
        unit: int,
        undecodable: Sequence[str] = (),
        counts: dict[str, int] | None = None,
        images_sha256: str = "",
    ) -> None:
        """Add keys, footer and checksum, and rename the file.

        All shards of a store share the settings and are ordered by their unit. Counts are further numbers to store,
        such as the annotator's correct predictions. The digest is that of the images, by which a later run notices
        that they were replaced.
        """
        offsets = np.zeros(len(self.keys) + 1, "<u4")
        np.cumsum([len(key) for key in self.keys], out=offsets[1:])
        key_bytes = offsets.tobytes() + b"".join(self.keys)
        self._write(key_bytes + b"\0" * (-len(key_bytes) % 8))
        footer = {
            "settings": settings,
            "records": len(self.keys),
            "record_bytes": self.layout.record_bytes,
            "key_bytes": int(offsets[-1]),
            "unit": unit,
            "undecodable": list(undecodable),
            "counts": counts or {},
        }
        if images_sha256:
            footer["images_sha256"] = images_sha256
        text = json.dumps(footer, sort_keys=True).encode()
        self._write(text + len(text).to_bytes(8, "little"))
        with atomic_file(self.path, durable=True):  # its temporary file is the one that is written here
            self._file.write(self._digest.digest())
            self._file.close()

    def abort(self) -> None:
        """Delete the temporary file."""
        with suppress(OSError):  # the last flush fails on a full disk
            self._file.close()
        self.temporary.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        with name_disk_errors(self.temporary):
            self._file.write(data)
        self._digest.update(data)


def read_footer(path: Path) -> dict[str, Any]:
    """Return the checked footer of a shard, with `bytes` and `sha256` of the file as in its tail.

    Raises:
        ScoreMapStoreError: The file is not a complete shard.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC or size < HEADER_BYTES + TAIL_BYTES:
                raise ValueError("it does not start like a shard")
            file.seek(size - TAIL_BYTES)
            length = int.from_bytes(file.read(8), "little")
            sha256 = file.read(32).hex()
            if length > size - HEADER_BYTES - TAIL_BYTES:
                raise ValueError("its footer does not fit in the file")
            file.seek(size - TAIL_BYTES - length)
            footer = json.loads(file.read(length))
        _check_footer(footer, size, length)
    except (ValueError, RecursionError) as error:
        raise ScoreMapStoreError(f"{path} is corrupt: {str(error).rstrip('.')}. {RESTORE}") from None
    return footer | {"bytes": size, "sha256": sha256}


def _check_footer(footer: Any, size: int, footer_bytes: int) -> None:
    numbers = dict(records=int, record_bytes=int, key_bytes=int, unit=int)
    check_fields(footer, dict(settings=dict, undecodable=list, counts=dict) | numbers)
    check_fields({"images_sha256": ""} | footer, dict(images_sha256=str))
    if not all(isinstance(key, str) for key in footer["undecodable"]):
        raise ValueError("its footer must list undecodable images by their keys")
    if not all(type(count) is int for count in footer["counts"].values()):
        raise ValueError("its footer must have counts that are integers")
    record_bytes = layout_of(footer["settings"]).record_bytes
    if footer["record_bytes"] != record_bytes:
        raise ValueError(f"its records must have {record_bytes} bytes, got {footer['record_bytes']}")
    keys = 4 * (footer["records"] + 1) + footer["key_bytes"]
    expected = HEADER_BYTES + footer["records"] * record_bytes + keys + (-keys % 8) + footer_bytes + TAIL_BYTES
    if expected != size:
        raise ValueError(f"its size must be {expected} bytes as in its footer, got {size}")


def read_records(path: Path, layout: RecordLayout, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Read a shard's records in chunks, without a memory map; yield the first row and a structured array [B]."""
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        for start in range(0, count, RECORDS_PER_CHUNK):
            expected = min(RECORDS_PER_CHUNK, count - start)
            records = np.fromfile(file, layout.dtype, expected)
            if len(records) < expected:
                raise ScoreMapStoreError(f"{path} is corrupt: it ends in record {start + len(records)} of {count}.")
            yield start, records


class Shard:
    """A memory-mapped shard whose records must have the given layout.

    Raises:
        ScoreMapStoreError: The file is corrupt or has another layout.
    """

    def __init__(self, path: Path, layout: RecordLayout) -> None:
        self.path, self.layout = path, layout
        footer = read_footer(path)
        own = layout_of(footer["settings"])
        if own != layout:  # the record size is not enough, as K could differ
            raise ScoreMapStoreError(f"{path} must have the layout {layout} as in the manifest, got {own}. {RESTORE}")
        self.records: int = footer["records"]
        self.sha256: str = footer["sha256"]
        self._file = MappedFile(path)
        self._bytes, self._view = self._file.bytes, self._file.view
        self._record_bytes = layout.record_bytes
        self._checked = bytearray(self.records)  # 1 for each record whose checksum was found correct
        offsets_start = HEADER_BYTES + self.records * layout.record_bytes
        words = np.frombuffer(self._view[HEADER_BYTES:offsets_start], "<u8")
        self._words = words.reshape(self.records, layout.record_bytes // 8)
        self._keys_start = offsets_start + 4 * (self.records + 1)
        self._keys_end = self._keys_start + footer["key_bytes"]
        self._offsets = self._view[offsets_start : self._keys_start].cast("I")

    def has_key(self, row: int, key: bytes) -> bool:
        """Return whether a record has this UTF-8 key; checks that the file still has its size."""
        self._file.check_size()
        if row >= self.records:
            raise ScoreMapStoreError(f"{self.path}: the index refers to record {row} of {self.records}.")
        offsets, start = self._offsets, self._keys_start
        return self._bytes[start + offsets[row] : start + offsets[row + 1]] == key

    def read(self, row: int) -> bytearray:
        """Return the bytes of a record that `has_key` has found; the checksum is computed the first time."""
        start = HEADER_BYTES + row * self._record_bytes
        record = bytearray(self._view[start : start + self._record_bytes])
        if not self._checked[row]:
            self._check(row, record)
        return record

    def read_words(self, rows: list[int]) -> np.ndarray:
        """Return several records as uint64 [B, record_bytes / 8]; see `read`."""
        words = np.take(self._words, rows, axis=0)
        for row, record in zip(rows, words, strict=True):
            if not self._checked[row]:
                self._check(row, record)
        return words

    def all_key_bytes(self) -> Iterator[bytes]:
        """Return an iterator over the UTF-8 keys in the order of the records."""
        self._file.check_size()
        offsets, keys = self._offsets.tolist(), self._bytes[self._keys_start : self._keys_end]
        return (keys[start:end] for start, end in pairwise(offsets))

    def keys(self) -> Iterator[str]:
        """Yield all keys in the order of the records."""
        for row, key in enumerate(self.all_key_bytes()):
            try:
                yield key.decode()
            except UnicodeDecodeError:
                raise ScoreMapStoreError(f"{self.path} is corrupt: the key of record {row}. {RESTORE}") from None

    def _check(self, row: int, record: Buffer) -> None:
        if not self.layout.is_intact(record):
            raise ScoreMapStoreError(
                f"{self.path}: record {row} is corrupt. Run `mmtl score_maps verify` on the store,"
                " then restore the shard or delete it and make it again."
            )
        self._checked[row] = 1
