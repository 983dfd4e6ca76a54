"""One shard file: records, their keys, a footer that says what they are, and a checksum.

    header   64 bytes: magic, zeros
    records  n x record_bytes
    keys     n + 1 offsets (uint32), then the UTF-8 keys end to end, padded to eight bytes
    footer   JSON: settings of the store, number of records, key bytes, work unit, undecodable images
    tail     footer length (uint64), SHA-256 of everything before the SHA-256

A shard is written under a temporary name and appears whole, by renaming.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmtl.score_maps.layout import Buffer, RecordLayout, layout_of
from mmtl.score_maps.mapped_file import MappedFile
from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.utils.atomic_file import atomic_file, name_disk_errors, temporary_path

MAGIC = b"mmtl-score-maps\x01"
HEADER_BYTES = 64
TAIL_BYTES = 40
HASH_CHUNK_BYTES = 1 << 22
RECORDS_AT_ONCE = 1024


def shard_name(unit: int) -> str:
    """File name of the shard of a work unit."""
    return f"shard-{unit:05d}.bin"


def file_sha256(path: Path, num_bytes: int | None = None) -> str:
    """Hexadecimal SHA-256 of a file's first `num_bytes` (default: all)."""
    digest = hashlib.sha256()
    left = path.stat().st_size if num_bytes is None else num_bytes
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(HASH_CHUNK_BYTES, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


class ShardWriter:
    """Writes one shard; nothing is visible under its name before `finish`.

    Args:
        path: The shard's final name.
        layout: Layout of the records.
    """

    def __init__(self, path: Path, layout: RecordLayout) -> None:
        self.path, self.layout = path, layout
        self.temporary = temporary_path(path)
        self.keys: list[bytes] = []
        self._digest = hashlib.sha256()
        self._file = self.temporary.open("wb")
        self._write(MAGIC.ljust(HEADER_BYTES, b"\0"))

    def add(self, keys: list[str], records: np.ndarray) -> None:
        """Append encoded records (structured array [B]) with their keys."""
        self._write(records.tobytes())
        self.keys += [key.encode() for key in keys]

    def flush(self) -> None:
        """Hand what was added to the operating system (others read progress off the file's size)."""
        with name_disk_errors(self.temporary):
            self._file.flush()

    def finish(
        self,
        settings: dict[str, Any],
        unit: int,
        undecodable: Sequence[str] = (),
        counts: dict[str, int] | None = None,
    ) -> None:
        """Add keys, footer and checksum, and let the shard appear.

        Args:
            settings: What all shards of the store agree on.
            unit: Number of the work unit; shards are ordered by it.
            undecodable: Keys of the unit's images that could not be decoded.
            counts: Further numbers to keep, such as how often the annotator was right.
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
        text = json.dumps(footer, sort_keys=True).encode()
        self._write(text + len(text).to_bytes(8, "little"))
        with atomic_file(self.path, durable=True):
            self._file.write(self._digest.digest())
            self._file.close()

    def abort(self) -> None:
        """Drop what was written."""
        try:
            self._file.close()
        except OSError:
            pass  # a full disk refuses the last flush; the file goes anyway
        self.temporary.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        with name_disk_errors(self.temporary):
            self._file.write(data)
        self._digest.update(data)


def read_footer(path: Path) -> dict[str, Any]:
    """Footer of a shard, checked for sense, plus `bytes` and `sha256` of the file as its tail states them.

    Raises:
        ScoreMapStoreError: The file is no whole shard.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC or size < HEADER_BYTES + TAIL_BYTES:
                raise ValueError("it does not start as a shard")
            file.seek(size - TAIL_BYTES)
            length = int.from_bytes(file.read(8), "little")
            sha256 = file.read(32).hex()
            if length > size - HEADER_BYTES - TAIL_BYTES:
                raise ValueError("its footer does not fit in the file")
            file.seek(size - TAIL_BYTES - length)
            footer = json.loads(file.read(length))
        _check_footer(footer, size, length)
    except (ValueError, RecursionError) as error:
        raise ScoreMapStoreError(f"{path}: damaged shard, {error}. Restore or delete it and make it again.") from None
    return footer | {"bytes": size, "sha256": sha256}


def _check_footer(footer: Any, size: int, footer_bytes: int) -> None:
    if not isinstance(footer, dict) or not isinstance(footer.get("settings"), dict):
        raise ValueError("its footer is no settings object")
    numbers = [footer.get(name) for name in ("records", "record_bytes", "key_bytes", "unit")]
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise ValueError("its footer lacks a count")
    undecodable = footer.get("undecodable")
    if not isinstance(undecodable, list) or not all(isinstance(key, str) for key in undecodable):
        raise ValueError("its footer lacks the list of undecodable images")
    counts = footer.get("counts")
    if not isinstance(counts, dict) or not all(type(count) is int for count in counts.values()):
        raise ValueError("its footer lacks the counts")
    records, record_bytes, key_bytes, _ = numbers
    keys = 4 * (records + 1) + key_bytes
    wanted = HEADER_BYTES + records * record_bytes + keys + (-keys % 8) + footer_bytes + TAIL_BYTES
    if wanted != size:
        raise ValueError(f"it is {size} bytes long, its footer asks for {wanted}")


def read_records(path: Path, layout: RecordLayout, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """A shard's records, read and not mapped: row of the first and structured array [B], some at a time.

    Raises:
        ScoreMapStoreError: The file is shorter than that.
    """
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        for start in range(0, count, RECORDS_AT_ONCE):
            wanted = min(RECORDS_AT_ONCE, count - start)
            records = np.fromfile(file, layout.dtype, wanted)
            if len(records) < wanted:
                raise ScoreMapStoreError(f"{path} is damaged: it ends in record {start + len(records)} of {count}.")
            yield start, records


def _want_layout(path: Path, footer: dict[str, Any], layout: RecordLayout) -> None:
    """See that the records are laid out as the store says; not only as long: its K could be another."""
    try:
        own = layout_of(footer["settings"])
    except ValueError as error:
        raise ScoreMapStoreError(f"{path}: damaged shard, {error}. Restore or delete it and make it again.") from None
    if own != layout:
        raise ScoreMapStoreError(f"{path} is a shard of {own}, the store's manifest says {layout}. Restore the one.")
    if footer["record_bytes"] != layout.record_bytes:
        raise ScoreMapStoreError(
            f"{path}: records of {footer['record_bytes']} bytes, the store's layout has {layout.record_bytes}."
        )


class Shard:
    """A memory-mapped shard.

    Args:
        path: The file.
        layout: Layout that its records must have.

    Raises:
        ScoreMapStoreError: The file is damaged or of another layout.
    """

    def __init__(self, path: Path, layout: RecordLayout) -> None:
        self.path, self.layout = path, layout
        footer = read_footer(path)
        _want_layout(path, footer, layout)
        self.records: int = footer["records"]
        self.sha256: str = footer["sha256"]
        self._file = MappedFile(path)
        self._bytes, self._view = self._file.bytes, self._file.view
        self._record_bytes = layout.record_bytes
        offsets_at = HEADER_BYTES + self.records * layout.record_bytes
        self._words = np.frombuffer(self._view[HEADER_BYTES:offsets_at], "<u8").reshape(
            self.records, layout.record_bytes // 8
        )
        self._checked = bytearray(self.records)
        self._decode = layout.reader()
        self._keys_at = offsets_at + 4 * (self.records + 1)
        self._keys_end = self._keys_at + footer["key_bytes"]
        self._offsets = self._view[offsets_at : self._keys_at].cast("I")

    def place(self, row: int, key: bytes) -> tuple["Shard", int] | None:
        """This shard and the row, None when the record's UTF-8 key is another one.

        Raises:
            ScoreMapStoreError: There is no such record, or the file has been cut since it was opened.
        """
        self._file.want_whole()
        if row >= self.records:
            raise ScoreMapStoreError(f"{self.path}: the index asks for record {row} of {self.records}.")
        offsets, keys_at = self._offsets, self._keys_at
        return (self, row) if self._bytes[keys_at + offsets[row] : keys_at + offsets[row + 1]] == key else None

    def read(self, row: int, key: bytes) -> ScoreMap | None:
        """The score map of a record, None when its key is another one; its check is computed the first time.

        Raises:
            ScoreMapStoreError: The record is damaged, or see `place`.
        """
        # `place` once more: a call of it would take a tenth of the time of a read
        self._file.want_whole()
        if row >= self.records:
            self.place(row, key)
        offsets, keys_at = self._offsets, self._keys_at
        if self._bytes[keys_at + offsets[row] : keys_at + offsets[row + 1]] != key:
            return None
        start = HEADER_BYTES + row * self._record_bytes
        record = bytearray(self._view[start : start + self._record_bytes])
        if not self._checked[row]:
            self._check(row, record)
        return self._decode(record)

    def all_key_bytes(self) -> Iterator[bytes]:
        """UTF-8 keys in the order of the records.

        Raises:
            ScoreMapStoreError: The file has been cut since it was opened.
        """
        self._file.want_whole()
        offsets, keys = self._offsets.tolist(), self._bytes[self._keys_at : self._keys_end]
        return (keys[start:end] for start, end in pairwise(offsets))

    def keys(self) -> Iterator[str]:
        """All keys in the order of the records.

        Raises:
            ScoreMapStoreError: The key table is damaged.
        """
        for row, key in enumerate(self.all_key_bytes()):
            try:
                yield key.decode()
            except UnicodeDecodeError:
                raise ScoreMapStoreError(f"{self.path}: the key of record {row} is damaged.") from None

    def read_words(self, rows: list[int]) -> np.ndarray:
        """Several records as uint64 [B, record_bytes / 8]; see `read`."""
        words = np.take(self._words, rows, axis=0)
        for place, row in enumerate(rows):
            if not self._checked[row]:
                self._check(row, words[place])
        return words

    def _check(self, row: int, record: Buffer) -> None:
        if not self.layout.is_whole(record):
            raise ScoreMapStoreError(
                f"{self.path}: record {row} is damaged. Run `mim run mmtl score_maps verify` on the store,"
                " then restore the shard or delete it and make it again."
            )
        self._checked[row] = 1
