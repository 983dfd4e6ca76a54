"""One folder of a store: its manifest, its index and those of its shards that are present."""

from collections.abc import Iterator
from pathlib import Path

from mmtl.score_maps.index import INDEX_NAME, ROW_BITS, ROW_MASK, KeyIndex
from mmtl.score_maps.layout import layout_of
from mmtl.score_maps.manifest import read_manifest
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.score_maps.shard import Shard


class StoreFolder:
    """Finds keys in a folder; shards are opened when they are needed.

    Raises:
        FileNotFoundError: The folder contains no finished store.
        ScoreMapStoreError: The manifest or the index is corrupt.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = read_manifest(path)
        self.layout = layout_of(self.manifest.settings)
        self._index = KeyIndex(path / INDEX_NAME, self.manifest.num_maps)
        self._opened: dict[int, Shard] = {}

    @property
    def missing_shards(self) -> list[str]:
        """File names of shards that are not in the folder."""
        return [shard.file for shard in self.manifest.shards if not (self.path / shard.file).is_file()]

    @property
    def num_maps(self) -> int:
        """Number of maps in the shards that are present."""
        missing = set(self.missing_shards)
        return sum(shard.records for shard in self.manifest.shards if shard.file not in missing)

    def shards(self) -> Iterator[Shard]:
        """Yield the shards that are present, in order."""
        for number in range(len(self.manifest.shards)):
            if (shard := self._open(number)) is not None:
                yield shard

    def find(self, key: bytes) -> tuple[Shard, int] | None:
        """Return the shard and row of a UTF-8 key, None if the folder does not contain it.

        Raises:
            ScoreMapStoreError: The index or the shard is corrupt.
        """
        for location in self._index.find(key):
            number, row = location >> ROW_BITS, location & ROW_MASK
            shard = self._opened.get(number) or self._open(number)
            if shard is not None and shard.has_key(row, key):
                return shard, row
        return None

    def _open(self, number: int) -> Shard | None:
        """Map a shard; return None if its file is missing."""
        if number in self._opened:
            return self._opened[number]
        if number >= len(self.manifest.shards):
            raise ScoreMapStoreError(f"{self.path / INDEX_NAME} is corrupt: it refers to a shard {number}.")
        entry = self.manifest.shards[number]
        path = self.path / entry.file
        if not path.is_file():
            return None
        shard = Shard(path, self.layout)
        if (shard.records, shard.sha256) != (entry.records, entry.sha256):
            raise ScoreMapStoreError(f"{path} is not the shard that the manifest lists. Restore it.")
        self._opened[number] = shard
        return shard
