"""Key -> (shard, row) through one sorted array of 32-bit key hashes, memory-mapped.

The hash only narrows the search; the key itself, stored in the shard, decides.

    header     64 bytes: magic, zeros
    hashes     n x uint32, ascending
    locations  n x uint64: shard number << 32 | row   (starts at a multiple of eight)
"""

import mmap
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mmtl.score_maps.score_map import ScoreMapStoreError

INDEX_NAME = "index.bin"
INDEX_MAGIC = b"mmtl-map-index\x01\x00"
HEADER_BYTES = 64


def key_hash(key: bytes) -> int:
    """CRC-32 of a key: even enough for a sorted index, and a tenth of a microsecond."""
    return zlib.crc32(key)


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


class KeyIndex:
    """The memory-mapped index of a store of `num_maps` maps.

    Attributes:
        hashes: Key hashes in ascending order.
        locations: Shard number << 32 | row of each.

    Raises:
        ScoreMapStoreError: The file is missing or does not have the size of such an index.
    """

    def __init__(self, path: Path, num_maps: int) -> None:
        if not path.is_file():
            raise ScoreMapStoreError(f"{path} is missing. Restore it, or merge the store into a new folder.")
        with path.open("rb") as file:
            size = path.stat().st_size
            if size != index_bytes(num_maps) or file.read(len(INDEX_MAGIC)) != INDEX_MAGIC:
                raise ScoreMapStoreError(f"{path} is damaged: it is no index of {num_maps} maps.")
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        hashes_end = HEADER_BYTES + 4 * num_maps
        self.hashes = view[HEADER_BYTES:hashes_end].cast("I")
        self.locations = view[hashes_end + (-4 * num_maps % 8) :].cast("Q")
