"""Read a store of score maps."""

import resource
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmtl.score_maps.index import INDEX_NAME, ROW_BITS, ROW_MASK, KeyIndex, key_hash
from mmtl.score_maps.layout import layout_of
from mmtl.score_maps.manifest import read_manifest, setting_difference
from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.score_maps.shard import Shard

# Shards that are open at once, each with a file descriptor: a quarter of the limit of the process, often 1,024.
MAX_OPEN = max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)


class StoreFolder:
    """Finds keys in one folder of a store; shards are opened when they are needed, at most ``max_open`` at once."""

    def __init__(self, path: Path, max_open: int = MAX_OPEN) -> None:
        self.path, self.max_open = path, max_open
        self.manifest = read_manifest(path)
        self.layout = layout_of(self.manifest.settings)
        self._index = KeyIndex(path / INDEX_NAME, self.manifest.num_maps)
        self._opened: dict[int, Shard] = {}

    @property
    def hashes(self) -> np.ndarray:
        """Hashes of all keys, uint32."""
        return self._index.hashes

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
        """Return the shard and row of a UTF-8 key, None if the folder does not contain it."""
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
        if len(self._opened) >= self.max_open:
            del self._opened[next(iter(self._opened))]
        self._opened[number] = shard
        return shard


def _warn_of_another_annotator(first: StoreFolder, folder: StoreFolder) -> None:
    settings, others = (
        {name: each.manifest.settings[name] for name in ("annotator", "preprocessing")} for each in (first, folder)
    )
    if difference := setting_difference(settings, others):
        names = (f"{each.path} by {each.manifest.settings['annotator'].get('name')!r}" for each in (first, folder))
        text = f"Stores of different annotators are read as one: {', '.join(names)}: {difference}."
        warnings.warn(text, stacklevel=3)


def _encoded(key: str) -> bytes:
    """Return the bytes of a key; those of a file name that is not UTF-8 are in no store."""
    return key.encode(errors="surrogatepass")


class ScoreMapStore(Mapping[str, ScoreMap]):
    """Read-only mapping from an image's key to its score map.

    Index and maps stay on disk, memory-mapped. The store pickles as its path and is safe in data-loader workers.
    Missing shards (a store hosted in parts) do not count in `len`, iteration and `in`.

    Args:
        path: Folder of the store, or several folders that are read as one store.

    Attributes:
        num_classes: K.
        grid_hw: Rows and columns of every map.
        topk: Number of classes per cell.
        has_log_norm: Whether the maps have the log-sum-exp over all classes.
        score_bits: 16, or 8 for the compact format.
        annotator: Name, config and weights hash of the annotator, as far as they are known.
        preprocessing: Input size, interpolation and normalization of the annotator's images.
        coverage: The region of an image that a map shows, 'whole' or 'center-square'; see `coverage_box`.

    Raises:
        FileNotFoundError: The folder contains no finished store.
        ScoreMapStoreError: A manifest or index is corrupt, or the folders contain maps of different layouts or
            coverages.
    """

    def __init__(self, path: str | Path | Sequence[str | Path]) -> None:
        paths = [path] if isinstance(path, str | Path) else list(path)
        if not paths:
            raise ValueError("path must name at least one folder of a score map store, got none.")
        self.path = Path(paths[0])
        self.folders = [StoreFolder(Path(each), max(1, MAX_OPEN // len(paths))) for each in paths]
        self._layout = layout = self.folders[0].layout
        for folder in self.folders[1:]:
            if folder.layout != layout:
                raise ScoreMapStoreError(
                    f"{folder.path} and {self.path} contain different maps: {folder.layout}, {layout}."
                )
            _warn_of_another_annotator(self.folders[0], folder)
        coverages = sorted({folder.manifest.coverage for folder in self.folders})
        if len(coverages) > 1:
            raise ScoreMapStoreError(f"{', '.join(map(str, paths))} contain maps of different coverages: {coverages}.")
        (self.coverage,) = coverages
        self.num_classes, self.grid_hw, self.topk = layout.num_classes, layout.grid_hw, layout.topk
        self.has_log_norm, self.score_bits = layout.log_norm, layout.score_bits
        settings = self.folders[0].manifest.settings
        self.annotator: dict[str, Any] = settings["annotator"]
        self.preprocessing: dict[str, Any] = settings["preprocessing"]

    def __reduce__(self) -> tuple:
        return type(self), ([folder.path for folder in self.folders],)

    @property
    def undecodable(self) -> list[str]:
        """Keys of images that could not be decoded when the store was made."""
        return list(dict.fromkeys(key for folder in self.folders for key in folder.manifest.undecodable))

    @property
    def missing_shards(self) -> list[str]:
        """Paths of missing shard files."""
        return [str(folder.path / name) for folder in self.folders for name in folder.missing_shards]

    @property
    def num_missing(self) -> int:
        """Number of maps in missing shards."""
        return sum(folder.manifest.num_maps - folder.num_maps for folder in self.folders)

    def __getitem__(self, key: str) -> ScoreMap:
        shard, row = self._find(key)
        return self._layout.decode(shard.read(row))

    def read_many(self, keys: Sequence[str]) -> ScoreMap:
        """Return the maps of several keys, stacked along a new first axis B; faster than one by one.

        Raises:
            KeyError: A key has no map.
            ScoreMapStoreError: A record is corrupt.
        """
        by_shard: dict[Shard, tuple[list[int], list[int]]] = {}
        for position, key in enumerate(keys):
            shard, row = self._find(key)
            positions, rows = by_shard.setdefault(shard, ([], []))
            positions.append(position)
            rows.append(row)
        if len(by_shard) == 1:  # saves a copy
            return self._layout.decode(shard.read_words(rows), (len(keys),))
        words = np.empty((len(keys), self._layout.record_bytes // 8), np.uint64)
        for shard, (positions, rows) in by_shard.items():
            words[positions] = shard.read_words(rows)
        return self._layout.decode(words, (len(keys),))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and any(folder.find(_encoded(key)) for folder in self.folders)

    def __len__(self) -> int:
        return sum(folder.num_maps for folder in self.folders) if not self._shared_hashes else sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        shared = self._shared_hashes
        for number, folder in enumerate(self.folders):
            for shard in folder.shards():
                for key in shard.keys():
                    if not shared or not self._has_before(number, key.encode()):
                        yield key

    def _has_before(self, number: int, key: bytes) -> bool:
        """Return whether a folder before the one of this number has a key."""
        return key_hash(key) in self._shared_hashes and any(folder.find(key) for folder in self.folders[:number])

    @cached_property
    def _shared_hashes(self) -> frozenset[int]:
        """Hashes of keys that are in more than one folder; empty for one folder."""
        hashes = np.concatenate([np.unique(folder.hashes) for folder in self.folders])
        values, counts = np.unique(hashes, return_counts=True)
        return frozenset(values[counts > 1].tolist())

    def verify(self) -> list[str]:
        """Read everything, compare it with the checksums and return the problems; empty for an intact store."""
        from mmtl.score_maps.verify import find_problems

        return [problem for folder in self.folders for problem in find_problems(folder.path)]

    def _find(self, key: str) -> tuple[Shard, int]:
        encoded = _encoded(key)
        for folder in self.folders:
            if (found := folder.find(encoded)) is not None:
                return found
        if missing := self.missing_shards:
            raise KeyError(
                f"{key!r}: no score map in {self.path}, where {', '.join(missing)} are missing. Fetch them."
            )
        raise KeyError(f"{key!r}: no score map in {self.path}. Make one with `mmtl make_score_maps`.")
