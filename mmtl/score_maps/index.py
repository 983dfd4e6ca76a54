"""Key -> (shard, row) through 32-bit key hashes.

The hash only narrows the search; the key itself, stored in the shard, decides.

    header     64 bytes: magic, zeros
    hashes     n x uint32, ascending
    locations  n x uint64: shard number << 32 | row   (starts at a multiple of eight)
"""

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mmtl.score_maps.score_map import ScoreMapStoreError

INDEX_NAME = "index.bin"
INDEX_MAGIC = b"mmtl-map-index\x01\x00"
HEADER_BYTES = 64
FINGERPRINT = 0xFFFF  # the hash's last bits, kept in the table beside the place that its first bits give
CHUNK = 1 << 13  # entries
MOST_SHARDS = 1 << 16
MOST_ROWS = (1 << 32) - 1

key_hash = zlib.crc32  # even enough for a table, and a tenth of a microsecond


def build_index(keys_of_shards: Iterable[Iterable[bytes]]) -> bytes:
    """Bytes of the index file for shards in their order."""
    hashes, locations = [], []
    for shard, keys in enumerate(keys_of_shards):
        of_shard = np.fromiter(map(key_hash, keys), np.uint32)
        hashes.append(of_shard)
        locations.append((np.uint64(shard) << np.uint64(32)) | np.arange(len(of_shard), dtype=np.uint64))
    all_hashes = np.concatenate(hashes or [np.empty(0, np.uint32)])
    order = np.argsort(all_hashes, kind="stable")
    all_locations = np.concatenate(locations or [np.empty(0, np.uint64)])[order]
    hash_bytes = all_hashes[order].astype("<u4").tobytes()
    padding = b"\0" * (-len(hash_bytes) % 8)
    return INDEX_MAGIC.ljust(HEADER_BYTES, b"\0") + hash_bytes + padding + all_locations.astype("<u8").tobytes()


def index_bytes(num_maps: int) -> int:
    """Size of the index file of a store."""
    return HEADER_BYTES + 4 * num_maps + (-4 * num_maps % 8) + 8 * num_maps


def _read_entries(path: Path, num_maps: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and locations, uint64, of the chunk of entries that begins at `start`."""
    count = min(CHUNK, num_maps - start)
    locations_at = index_bytes(num_maps) - 8 * num_maps
    hashes = np.fromfile(path, "<u4", count, offset=HEADER_BYTES + 4 * start)
    return hashes.astype(np.uint64), np.fromfile(path, "<u8", count, offset=locations_at + 8 * start)


class KeyIndex:
    """The index of a store of `num_maps` maps, as a table in memory (12 bytes per key, made in a moment).

    An entry stands at the place that its hash has among all hashes, scaled to the table, or at the next free one. So
    a search begins where the key has to be and ends at the first empty place.

    Attributes:
        table: Entries fingerprint << 48 | shard number << 32 | row + 1; 0 is an empty place.
        num_places: Places that hashes are scaled to; some more follow.

    Raises:
        ScoreMapStoreError: The file is missing or is no such index.
    """

    def __init__(self, path: Path, num_maps: int) -> None:
        if not path.is_file():
            raise ScoreMapStoreError(f"{path} is missing. Restore it, or merge the store into a new folder.")
        with path.open("rb") as file:
            magic = file.read(len(INDEX_MAGIC))
        if path.stat().st_size != index_bytes(num_maps) or magic != INDEX_MAGIC:
            raise ScoreMapStoreError(f"{path} is damaged: it is no index of {num_maps} maps.")
        self.num_places = num_maps + num_maps // 2 + 1
        table = np.zeros(self.num_places + num_maps + 2, np.uint64)  # what is never written takes no memory
        last_hash, shift = np.uint64(0), -num_maps
        # In chunks, so that what each data-loader worker allocates on the way stays small.
        for start in range(0, num_maps, CHUNK):
            hashes, locations = _read_entries(path, num_maps, start)
            shards, rows = locations >> np.uint64(32), locations & np.uint64(MOST_ROWS)
            disorder = hashes[0] < last_hash or (hashes[1:] < hashes[:-1]).any()
            if disorder or (shards >= MOST_SHARDS).any() or (rows == MOST_ROWS).any():
                raise ScoreMapStoreError(f"{path} is damaged: its hashes are not in order or a place is impossible.")
            count = np.arange(start, start + len(hashes))
            shifts = (hashes * np.uint64(self.num_places) >> np.uint64(32)).astype(np.int64) - count
            shifts[0] = max(shifts[0], shift)
            places = np.maximum.accumulate(shifts, out=shifts) + count
            table[places] = (hashes & np.uint64(FINGERPRINT)) << np.uint64(48) | locations + np.uint64(1)
            last_hash, shift = hashes[-1], shifts[-1]
        self.table = memoryview(table)
