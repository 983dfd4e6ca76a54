"""Writing a store of score maps, shard by shard."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mmtl.score_maps.folder_lock import FolderLock
from mmtl.score_maps.index import INDEX_NAME, build_index, key_hash
from mmtl.score_maps.layout import RecordLayout, layout_of
from mmtl.score_maps.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardEntry,
    make_settings,
    setting_difference,
    write_manifest,
)
from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.score_maps.shard import Shard, ShardWriter, read_footer, shard_name
from mmtl.utils.atomic_file import TEMPORARY_SUFFIX, atomic_file
from mmtl.utils.image_files import check_utf8

SHARD_BYTES = 256 * 2**20
UNDECODABLE_NAME = "undecodable.txt"


def whole_shards(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Shards of a folder with their footers, in the order of their work units.

    Raises:
        ScoreMapStoreError: A shard is damaged, or shards were made with different settings.
    """
    shards = [(path, read_footer(path)) for path in folder.glob("shard-*.bin")]
    shards.sort(key=lambda shard: shard[1]["unit"])
    for path, footer in shards[1:]:
        if difference := setting_difference(shards[0][1]["settings"], footer["settings"]):
            raise ScoreMapStoreError(f"{path} and {shards[0][0].name} differ in {difference}.")
    return shards


def remove_temporaries(folder: Path) -> None:
    """Delete what a killed run left half-written."""
    for path in folder.glob("*" + TEMPORARY_SUFFIX):
        path.unlink(missing_ok=True)


def finish_store(folder: Path) -> None:
    """Turn a folder of whole shards into a store: write the index, the list of undecodable images, then the manifest.

    Raises:
        ScoreMapStoreError: There is no map, or a key occurs twice.
    """
    shards = whole_shards(folder)
    if not any(footer["records"] for _, footer in shards):
        raise ScoreMapStoreError(f"{folder}: there is no score map to make a store of.")
    settings = shards[0][1]["settings"]
    layout = layout_of(settings)
    opened = [Shard(path, layout) for path, _ in shards]
    _refuse_duplicates(opened)
    index = build_index(shard.all_key_bytes() for shard in opened)
    with atomic_file(folder / INDEX_NAME, durable=True) as temporary:
        temporary.write_bytes(index)
    entries = [ShardEntry(path.name, footer["records"], footer["bytes"], footer["sha256"]) for path, footer in shards]
    undecodable = [key for _, footer in shards for key in footer["undecodable"]]
    if undecodable:
        with atomic_file(folder / UNDECODABLE_NAME, durable=True) as temporary:
            temporary.write_bytes("".join(f"{key}\n" for key in undecodable).encode())
    write_manifest(folder, Manifest(settings, entries, hashlib.sha256(index).hexdigest(), undecodable))
    remove_temporaries(folder)


def _refuse_duplicates(shards: list[Shard]) -> None:
    hashes = np.concatenate([np.fromiter(map(key_hash, shard.all_key_bytes()), np.uint32) for shard in shards])
    values, counts = np.unique(hashes, return_counts=True)
    suspects = set(values[counts > 1].tolist())
    seen: set[bytes] = set()
    for shard in shards if suspects else []:
        for key in shard.all_key_bytes():
            if key_hash(key) in suspects:
                if key in seen:
                    raise ScoreMapStoreError(f"{shard.path}: {key.decode(errors='replace')!r} occurs twice.")
                seen.add(key)


class ScoreMapWriter:
    """Writes a store; a killed writer loses at most the shard in hand.

    Opened again on the same folder with the same settings, it continues after the last whole shard: `key in
    writer` tells what is already there, and `add` refuses it.

    Args:
        path: Folder of the store, new, empty, or left by an unfinished writer.
        num_classes: K.
        grid_hw: Rows and columns of every map.
        topk: Classes kept per cell, at most K.
        log_norm: Whether maps hold log_norm; None takes it from the first map.
        score_bits: 16, or 8 for the compact form.
        annotator: What made the maps (plain JSON values), kept in the manifest.
        preprocessing: What the annotator saw (plain JSON values), kept in the manifest.
        shard_bytes: Size at which a shard is closed.

    Raises:
        FileExistsError: The folder holds a finished store or other files, or another writer is at it.
        ScoreMapStoreError: The folder holds shards with other settings.
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        num_classes: int,
        grid_hw: tuple[int, int],
        topk: int,
        log_norm: bool | None = None,
        score_bits: int = 16,
        annotator: dict[str, Any] | None = None,
        preprocessing: dict[str, Any] | None = None,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.path = Path(path)
        grid_hw = (int(grid_hw[0]), int(grid_hw[1]))
        self._settings_of = lambda layout: make_settings(layout, annotator, preprocessing)
        self._layout_fields = dict(num_classes=num_classes, grid_hw=grid_hw, topk=topk, score_bits=score_bits)
        RecordLayout(**self._layout_fields)  # refuse bad numbers before a folder is made
        self._shard_bytes = shard_bytes
        self._layout: RecordLayout | None = None
        self._shard: ShardWriter | None = None
        self._created = prepare_folder(self.path)
        self._lock = FolderLock(self.path)
        try:
            self._continue(log_norm)
        except BaseException:
            self._lock.release()
            raise

    def _continue(self, log_norm: bool | None) -> None:
        """Begin after the last whole shard."""
        remove_temporaries(self.path)
        shards = whole_shards(self.path)
        if shards and log_norm is None:
            log_norm = shards[0][1]["settings"].get("log_norm")
        if log_norm is not None:
            self._set_layout(log_norm)
        self._next_unit = shards[-1][1]["unit"] + 1 if shards else 0
        self._keys: set[str] = set()
        for shard_path, footer in shards:
            if difference := setting_difference(footer["settings"], self._settings):
                raise ScoreMapStoreError(
                    f"{shard_path} was made with other settings: {difference}. Choose another folder or delete it."
                )
            self._keys.update(Shard(shard_path, self._layout).keys())

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __enter__(self) -> "ScoreMapWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def add(self, key: str, score_map: ScoreMap) -> None:
        """Add one map.

        Raises:
            ValueError: The key is there already or the map does not fit the settings.
        """
        scores, classes, log_norm = (None if part is None else np.asarray(part)[None] for part in score_map)
        self.add_batch([key], scores, classes, log_norm)

    def add_batch(
        self, keys: list[str], scores: np.ndarray, classes: np.ndarray, log_norm: np.ndarray | None = None
    ) -> None:
        """Add maps stacked in arrays [B, h, w, k] and log_norm [B, h, w]; see `add`."""
        for key in keys:
            if not isinstance(key, str) or not key or key in self._keys:
                raise ValueError(f"Key {key!r}: a new image path is wanted, and this one is empty or there already.")
            check_utf8(key)
        if self._layout is None:
            self._set_layout(log_norm is not None)
        records = self._layout.encode(np.asarray(scores), np.asarray(classes), log_norm)
        if self._shard is None:
            self._shard = ShardWriter(self.path / shard_name(self._next_unit), self._layout)
        self._shard.add(keys, records)
        self._keys.update(keys)
        if len(self._shard.keys) * self._layout.record_bytes >= self._shard_bytes:
            self._finish_shard()

    def close(self) -> None:
        """Finish the shard in hand, then write index and manifest."""
        if self._shard is not None:
            self._finish_shard()
        try:
            finish_store(self.path)
        finally:
            self._lock.release()

    def abort(self) -> None:
        """Drop the shard in hand; whole shards stay for a later continuation."""
        if self._shard is not None:
            self._shard.abort()
            self._shard = None
        self._lock.release()
        if self._created and not any(self.path.iterdir()):
            self.path.rmdir()

    def _finish_shard(self) -> None:
        self._shard.finish(self._settings, self._next_unit)
        self._shard = None
        self._next_unit += 1

    def _set_layout(self, log_norm: bool) -> None:
        self._layout = RecordLayout(**self._layout_fields, log_norm=log_norm)
        self._settings = self._settings_of(self._layout)


def prepare_folder(folder: Path) -> bool:
    """Make the folder of a store to be written; True if it was not there.

    Raises:
        FileExistsError: It holds a finished store or files that are none of a store's.
    """
    if (folder / MANIFEST_NAME).exists():
        raise FileExistsError(
            f"{folder} already holds a finished score map store. Choose another folder or delete it."
        )
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    known = ("shard-", INDEX_NAME, MANIFEST_NAME, UNDECODABLE_NAME)
    others = [path.name for path in folder.iterdir() if not path.name.startswith(known)]
    if others:
        raise FileExistsError(f"{folder} holds other files ({others[0]}): give a new or empty folder.")
    return created
