"""Reading a store of score maps."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmtl.score_maps.index import INDEX_NAME, KeyIndex
from mmtl.score_maps.manifest import layout_of, read_manifest
from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.score_maps.shard import Shard


class ScoreMapStore(Mapping[str, ScoreMap]):
    """Read-only mapping from an image's key to its score map.

    Nothing is read before it is asked for: opening reads the manifest, a lookup searches the memory-mapped
    index, so a million keys cost no memory of the process. Pickles as its path; safe in data-loader workers.
    Shards that are not there (a store hosted in parts) are left out of `len`, iteration and `in`.

    Args:
        path: Folder of the store.

    Raises:
        FileNotFoundError: There is no finished store.
        ScoreMapStoreError: The manifest or the index is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._manifest = read_manifest(self.path)
        self._layout = layout_of(self._manifest.settings)
        self._index = KeyIndex(self.path / INDEX_NAME, self._manifest.num_maps)
        self._shards: list[Shard | None] = [None] * len(self._manifest.shards)

    def __reduce__(self) -> tuple:
        return type(self), (self.path,)

    @property
    def num_classes(self) -> int:
        """K."""
        return self._layout.num_classes

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of every map."""
        return self._layout.grid_hw

    @property
    def topk(self) -> int:
        """Classes kept per cell."""
        return self._layout.topk

    @property
    def has_log_norm(self) -> bool:
        """Whether the maps hold the log-sum-exp over all classes."""
        return self._layout.log_norm

    @property
    def annotator(self) -> dict[str, Any]:
        """Name, config and weights hash of the annotator, as far as the maker of the store knew them."""
        return self._manifest.settings["annotator"]

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Input size, interpolation and normalisation that the annotator saw."""
        return self._manifest.settings["preprocessing"]

    @property
    def undecodable(self) -> list[str]:
        """Keys of images that could not be decoded when the store was made."""
        return self._manifest.undecodable

    @property
    def missing_shards(self) -> list[str]:
        """File names of shards that are not in the folder."""
        return [shard.file for shard in self._manifest.shards if not (self.path / shard.file).is_file()]

    def __getitem__(self, key: str) -> ScoreMap:
        shard, row = self._find(key)
        return self._open(shard).read(row)

    def __contains__(self, key: object) -> bool:
        try:
            self._find(key)
        except KeyError:
            return False
        return True

    def __len__(self) -> int:
        missing = set(self.missing_shards)
        return sum(shard.records for shard in self._manifest.shards if shard.file not in missing)

    def __iter__(self) -> Iterator[str]:
        missing = set(self.missing_shards)
        for number, entry in enumerate(self._manifest.shards):
            shard = self._open(number) if entry.file not in missing else None
            if shard is not None:
                yield from shard.keys()

    def verify(self) -> list[str]:
        """Read everything and compare it with the checksums; the list of problems, empty when whole."""
        from mmtl.score_maps.verify import find_problems

        return find_problems(self.path)

    def _find(self, key: str) -> tuple[int, int]:
        """Shard number and row of a key; KeyError says why there is none."""
        if not isinstance(key, str):
            raise KeyError(f"{key!r}: keys are image paths under the image root, as strings.")
        encoded = key.encode()
        for number, row in self._index.candidates(encoded):
            shard = self._shards[number] if number < len(self._shards) else None
            if shard is None:
                shard = self._open(number)
            if shard is not None and shard.key_bytes(row) == encoded:
                return number, row
        raise KeyError(self._why_absent(key))

    def _why_absent(self, key: str) -> str:
        if missing := self.missing_shards:
            return f"{key!r}: no score map in {self.path}, which lacks {', '.join(missing)}: fetch the rest."
        return f"{key!r}: no score map in {self.path}; make one with `mim run mmtl make_score_maps`."

    def _open(self, number: int) -> Shard | None:
        """Map a shard; None when its file is not there."""
        if number >= len(self._shards):
            raise ScoreMapStoreError(f"{self.path / INDEX_NAME} is damaged: there is no shard {number}.")
        if self._shards[number] is None:
            entry = self._manifest.shards[number]
            path = self.path / entry.file
            if not path.is_file():
                return None
            shard = Shard(path, self._layout)
            if (shard.records, shard.sha256) != (entry.records, entry.sha256):
                raise ScoreMapStoreError(f"{path} is not the shard that the manifest names.")
            self._shards[number] = shard
        return self._shards[number]
