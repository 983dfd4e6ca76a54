"""One folder of a store: its manifest, its index and those of its shards that are there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from mmtl.score_maps import index
from mmtl.score_maps.index import INDEX_NAME, KeyIndex
from mmtl.score_maps.layout import layout_of
from mmtl.score_maps.manifest import read_manifest
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.score_maps.shard import Shard

Taken = TypeVar("Taken")


class StoreFolder:
    """Finds keys in a folder; opens nothing before it is needed.

    Args:
        path: The folder.

    Raises:
        FileNotFoundError: There is no finished store.
        ScoreMapStoreError: The manifest or the index is damaged.
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
        """Maps in the shards that are there."""
        missing = set(self.missing_shards)
        return sum(shard.records for shard in self.manifest.shards if shard.file not in missing)

    def shards(self) -> Iterator[Shard]:
        """The shards that are there, in order."""
        for number in range(len(self.manifest.shards)):
            if (shard := self._open(number)) is not None:
                yield shard

    def find(self, key: bytes, take: Callable[[Shard, int, bytes], Taken | None]) -> Taken | None:
        """What `take` gives for the shard and row of a key, None when the key is not here.

        Args:
            key: UTF-8 key.
            take: `Shard.read` or `Shard.place`: None when the row's key is another one.

        Raises:
            ScoreMapStoreError: The index or the shard is damaged.
        """
        wanted, table = index.key_hash(key), self._index.table
        place = wanted * self._index.num_places >> 32
        fingerprint = wanted & index.FINGERPRINT
        while entry := table[place]:
            if entry >> 48 == fingerprint:
                number = entry >> 32 & 0xFFFF
                shard = self._opened.get(number) or self._open(number)
                if shard is not None and (taken := take(shard, (entry & 0xFFFFFFFF) - 1, key)) is not None:
                    return taken
            place += 1
        return None

    def _open(self, number: int) -> Shard | None:
        """Map a shard; None when its file is not there."""
        if number in self._opened:
            return self._opened[number]
        if number >= len(self.manifest.shards):
            raise ScoreMapStoreError(f"{self.path / INDEX_NAME} is damaged: there is no shard {number}.")
        entry = self.manifest.shards[number]
        path = self.path / entry.file
        if not path.is_file():
            return None
        shard = Shard(path, self.layout)
        if (shard.records, shard.sha256) != (entry.records, entry.sha256):
            raise ScoreMapStoreError(f"{path} is not the shard that the manifest names.")
        self._opened[number] = shard
        return shard
