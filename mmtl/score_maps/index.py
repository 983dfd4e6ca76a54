"""Key -> (shard, row): bisection in a sorted table of 32-bit key hashes.

The hash only narrows the search; the key in the shard decides.

    header     64 bytes: magic, zeros
    hashes     n x uint32, ascending
    locations  n x uint64: shard number << 32 | row   (starts at a multiple of eight)
"""

import zlib
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mmtl.score_maps.mapped_file import MappedFile
from mmtl.score_maps.score_map import ScoreMapStoreError

INDEX_NAME = "index.bin"
INDEX_MAGIC = b"mmtl-map-index\x01\x00"
HEADER_BYTES = 64
ROW_BITS = 32
ROW_MASK = (1 << ROW_BITS) - 1
BUCKET_SHIFT = 20  # hashes with equal first 12 bits form a bucket: a shorter bisection, in 16 kB of memory

key_hash = zlib.crc32  # takes a tenth of a microsecond


def build_index(keys_of_shards: Iterable[Iterable[bytes]]) -> bytes:
    """Return the content of the index file for shards in their order."""
    hashes, locations = [np.empty(0, np.uint32)], [np.empty(0, np.uint64)]
    for shard, keys in enumerate(keys_of_shards):
        hashes.append(np.fromiter(map(key_hash, keys), np.uint32))
        locations.append(np.uint64(shard << ROW_BITS) | np.arange(len(hashes[-1]), dtype=np.uint64))
    all_hashes, all_locations = np.concatenate(hashes), np.concatenate(locations)
    order = np.argsort(all_hashes, kind="stable")
    header_and_hashes = INDEX_MAGIC.ljust(HEADER_BYTES, b"\0") + all_hashes[order].astype("<u4").tobytes()
    padded = header_and_hashes.ljust(_locations_start(len(order)), b"\0")
    return padded + all_locations[order].astype("<u8").tobytes()


def _locations_start(num_maps: int) -> int:
    return HEADER_BYTES + 4 * num_maps + -4 * num_maps % 8


def index_bytes(num_maps: int) -> int:
    """Return the size of the index file of `num_maps` maps."""
    return _locations_start(num_maps) + 8 * num_maps


class KeyIndex:
    """The memory-mapped index of a store of `num_maps` maps; all processes share its pages."""

    def __init__(self, path: Path, num_maps: int) -> None:
        if not path.is_file():
            raise ScoreMapStoreError(f"{path} is missing. Restore it, or merge the store into a new folder.")
        locations_start = _locations_start(num_maps)
        if path.stat().st_size != index_bytes(num_maps):
            raise ScoreMapStoreError(f"{path} is corrupt: its size is not that of an index of {num_maps} maps.")
        self._file = MappedFile(path)
        self._hashes = self._file.view[HEADER_BYTES : HEADER_BYTES + 4 * num_maps].cast("I")
        self._locations = self._file.view[locations_start:].cast("Q")
        hashes = np.asarray(self._hashes)
        if self._file.bytes[: len(INDEX_MAGIC)] != INDEX_MAGIC or (hashes[1:] < hashes[:-1]).any():
            raise ScoreMapStoreError(f"{path} is corrupt: it is not an index, or its hashes are not sorted.")
        first_hashes = np.arange(0, 2**32, 1 << BUCKET_SHIFT, dtype=np.uint32)
        starts = np.searchsorted(hashes, first_hashes).astype(np.uint32)
        self._bucket_starts = memoryview(np.append(starts, np.uint32(num_maps)))

    @property
    def hashes(self) -> np.ndarray:
        """Hashes of all keys, uint32, ascending."""
        return np.asarray(self._hashes)

    def find(self, key: bytes) -> memoryview:
        """Return the locations of the records whose keys have the same hash, usually one or none."""
        self._file.check_size()
        hashes, starts, wanted = self._hashes, self._bucket_starts, key_hash(key)
        bucket = wanted >> BUCKET_SHIFT
        bucket_end = starts[bucket + 1]
        start = end = bisect_left(hashes, wanted, starts[bucket], bucket_end)
        while end < bucket_end and hashes[end] == wanted:
            end += 1
        return self._locations[start:end]
