"""Write a store of score maps, shard by shard."""

import hashlib
import reprlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from mmtl.score_maps.folder_lock import FolderLock
from mmtl.score_maps.index import INDEX_NAME, build_index, index_bytes, key_hash
from mmtl.score_maps.layout import RecordLayout, check_fields, layout_of
from mmtl.score_maps.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardEntry,
    check_annotator,
    make_settings,
    read_manifest,
    setting_difference,
    write_manifest,
)
from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.score_maps.shard import Shard, ShardWriter, read_footer, shard_name
from mmtl.utils.atomic_file import TEMPORARY_SUFFIX, write_durably
from mmtl.utils.image_files import check_key

SHARD_BYTES = 256 * 2**20
UNDECODABLE_NAME = "undecodable.txt"


def prepare_folder(folder: Path) -> None:
    """Create the folder of a store to write; refuse a complete store and files that do not belong to a store."""
    if (folder / MANIFEST_NAME).exists() and is_complete(folder, read_manifest(folder)):
        raise FileExistsError(
            f"{folder} already contains a finished score map store. Choose another folder or delete it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    known = ("shard-", INDEX_NAME, MANIFEST_NAME, UNDECODABLE_NAME)
    if others := [path.name for path in folder.iterdir() if not path.name.startswith(known)]:
        raise FileExistsError(f"{folder} contains other files ({others[0]}). Give a new or empty folder.")


def is_complete(folder: Path, manifest: Manifest) -> bool:
    """Return whether the index and all shards of a finished store are present and have their length."""
    sizes = {INDEX_NAME: index_bytes(manifest.num_maps)} | {shard.file: shard.bytes for shard in manifest.shards}
    return all((folder / file).is_file() and (folder / file).stat().st_size == sizes[file] for file in sizes)


def is_finished(folder: Path, settings: dict[str, Any]) -> bool:
    """Return whether a folder holds the complete store with these settings; a finished store of others is an error."""
    if not (folder / MANIFEST_NAME).exists():
        return False
    manifest = read_manifest(folder)
    if difference := setting_difference(manifest.settings, settings):
        raise FileExistsError(
            f"{folder} holds a finished store made with other settings (stored / now): {difference}."
            " Choose another folder or delete it."
        )
    return is_complete(folder, manifest)


def resume_store(folder: Path, settings: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    """Return the complete shards of a folder that is locked, and remove what a killed run left unfinished.

    A finished store that lacks files is unfinished from then on.

    Raises:
        ScoreMapStoreError: The shards have other settings.
    """
    remove_temporaries(folder)
    shards = complete_shards(folder)
    for path, footer in shards[:1]:
        if difference := setting_difference(footer["settings"], settings):
            raise ScoreMapStoreError(
                f"{path} was made with other settings (stored / now): {difference}."
                " Choose another folder or delete this one."
            )
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    return shards


def complete_shards(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the shards of a folder with their footers, which agree in their settings, in the order of their units."""
    shards = [(path, read_footer(path)) for path in folder.glob("shard-*.bin") if path.is_file()]  # not dead links
    shards.sort(key=lambda shard: shard[1]["unit"])
    for path, footer in shards[1:]:
        if difference := setting_difference(shards[0][1]["settings"], footer["settings"]):
            raise ScoreMapStoreError(f"{path} and {shards[0][0].name} differ in {difference}.")
    return shards


def remove_temporaries(folder: Path) -> None:
    """Delete the unfinished files of a killed run."""
    for path in folder.glob("*" + TEMPORARY_SUFFIX):
        path.unlink(missing_ok=True)


def finish_store(folder: Path) -> None:
    """Turn a folder of complete shards into a store: write index, list of undecodable images, then manifest.

    Raises:
        ScoreMapStoreError: There is no map, or a key occurs twice.
    """
    shards = complete_shards(folder)
    if not any(footer["records"] for _, footer in shards):
        raise ScoreMapStoreError(f"{folder} must contain at least one score map to become a store, got none.")
    settings = shards[0][1]["settings"]
    layout = layout_of(settings)
    check_unique([path for path, _ in shards], layout, "Delete one of the shards and run the same command again")
    index = build_index(Shard(path, layout).all_key_bytes() for path, _ in shards)  # one is open at a time
    write_durably(folder / INDEX_NAME, index)
    entries = [ShardEntry(path.name, footer["records"], footer["bytes"], footer["sha256"]) for path, footer in shards]
    undecodable = [key for _, footer in shards for key in footer["undecodable"]]
    (folder / UNDECODABLE_NAME).unlink(missing_ok=True)
    if undecodable:
        write_durably(folder / UNDECODABLE_NAME, "".join(f"{key}\n" for key in undecodable).encode())
    write_manifest(folder, Manifest(settings, entries, hashlib.sha256(index).hexdigest(), undecodable))
    remove_temporaries(folder)


def check_unique(paths: list[Path], layout: RecordLayout, remedy: str) -> None:
    """Check that no key occurs twice; only keys with a repeated hash are compared, so that memory stays small."""
    hashes = [np.fromiter(map(key_hash, Shard(path, layout).all_key_bytes()), np.uint32) for path in paths]
    values, counts = np.unique(np.concatenate(hashes), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    seen: dict[bytes, Path] = {}
    for path in paths if suspects else []:
        for key in filter(lambda key: key_hash(key) in suspects, Shard(path, layout).all_key_bytes()):
            if key in seen:
                raise ScoreMapStoreError(
                    f"{path}: {key.decode(errors='replace')!r} occurs twice, first in {seen[key]}. {remedy}."
                )
            seen[key] = path


class ScoreMapWriter:
    """Writes a store; a killed writer loses at most the current shard.

    Opened again on the same folder with the same settings, it continues after the last complete shard: `key in
    writer` is true for keys that were written before, which `add` refuses.

    Args:
        path: Folder of the store: new, empty, or from an unfinished writer.
        num_classes: K.
        grid_hw: Rows and columns of every map.
        topk: Number of classes per cell, at most K.
        log_norm: Whether maps have log_norm; None: as the first map, and the others must agree. False drops it.
        score_bits: 16, or 8 for the compact format.
        annotator: Description of the annotator in plain JSON values, stored in the manifest.
        preprocessing: Description of the annotator's input, likewise.
        plan: What must be equal for a writer to continue another, such as the source of the maps, likewise.
        coverage: The region of an image that a map shows, 'whole' or 'center-square'; see `coverage_box`.
        shard_bytes: Size at which a shard is closed.

    Raises:
        FileExistsError: The folder contains a finished store or other files, or another run writes to it.
        ScoreMapStoreError: The folder contains shards with other settings.
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
        plan: dict[str, Any] | None = None,
        coverage: str = "whole",
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.path = Path(path)
        grid_hw = tuple(map(int, grid_hw))
        self._layout = RecordLayout(num_classes, grid_hw, topk, bool(log_norm), score_bits)
        self._log_norm_is_known = log_norm is not None
        self._drops_log_norm = log_norm is False
        self._descriptions = annotator, preprocessing
        self._extra = {"coverage": coverage} | ({} if plan is None else {"plan": plan})
        check_fields(self._settings, dict(annotator=dict, preprocessing=dict))
        layout_of(self._settings)  # what a reader refuses is refused before it is written
        check_annotator(self._settings["annotator"])
        self._shard_bytes = shard_bytes
        self._shard: ShardWriter | None = None
        self._keys: set[str] = set()
        prepare_folder(self.path)
        self._lock = FolderLock(self.path)
        try:
            self._resume()
        except BaseException:
            self._lock.release()
            raise

    def _resume(self) -> None:
        """Continue with the shards that are missing."""
        for _, footer in complete_shards(self.path)[:1]:
            self._set_log_norm(footer["settings"]["log_norm"])
        shards = resume_store(self.path, self._settings)
        for path, _ in shards:
            self._keys.update(Shard(path, self._layout).keys())
        # A shard that was deleted is made again in its position.
        existing = {footer["unit"] for _, footer in shards}
        self._units = (unit for unit in count() if unit not in existing)

    def _set_log_norm(self, log_norm: bool) -> None:
        """Decide whether maps have log_norm, unless that is known."""
        if not self._log_norm_is_known:
            self._layout = replace(self._layout, log_norm=log_norm)
            self._log_norm_is_known = True

    @property
    def _settings(self) -> dict[str, Any]:
        return make_settings(self._layout, *self._descriptions, **self._extra)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __enter__(self) -> "ScoreMapWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close() if kind is None else self.abort()

    def add(self, key: str, score_map: ScoreMap) -> None:
        """Add one map.

        Raises:
            ValueError: The key is empty or was added before, or the map does not fit the settings.
        """
        scores, classes, log_norm = (None if part is None else np.asarray(part)[None] for part in score_map)
        self.add_batch([key], scores, classes, log_norm)

    def add_batch(
        self, keys: list[str], scores: np.ndarray, classes: np.ndarray, log_norm: np.ndarray | None = None
    ) -> None:
        """Add maps stacked in arrays [B, h, w, k] and log_norm [B, h, w]; see `add`."""
        self._check_keys(keys)
        scores, classes = np.asarray(scores), np.asarray(classes)
        log_norm = None if log_norm is None else np.asarray(log_norm)
        parts = dict(scores=scores, classes=classes) | ({} if log_norm is None else dict(log_norm=log_norm))
        if shapes := {name: part.shape for name, part in parts.items() if part.shape[:1] != (len(keys),)}:
            raise ValueError(f"There must be as many maps as keys, {len(keys)}, got the shapes {shapes}.")
        if not len(keys):
            return
        self._set_log_norm(log_norm is not None)
        if log_norm is not None and not self._layout.log_norm and not self._drops_log_norm:
            raise ValueError(
                f"log_norm must be None for {keys[0]!r}, as the first map of {self.path} has none, got log_norm. "
                "Pass it with every map or with none, or create the writer with log_norm=False to drop it."
            )
        records = self._layout.encode(scores, classes, log_norm)
        if (np.diff(np.sort(classes, axis=-1), axis=-1) == 0).any():
            raise ValueError("The classes of a cell must differ, got a class twice in a cell.")
        if self._shard is None:
            self._unit = next(self._units)
            self._shard = ShardWriter(self.path / shard_name(self._unit), self._layout)
        self._shard.add(keys, records)
        self._keys.update(keys)
        if len(self._shard.keys) * self._layout.record_bytes >= self._shard_bytes:
            self._finish_shard()

    def _check_keys(self, keys: list[str]) -> None:
        if isinstance(keys, str) or not hasattr(keys, "__len__"):
            raise ValueError(f"keys must be a list of image paths, got {reprlib.repr(keys)}.")
        for key in keys:
            if not isinstance(key, str) or not key or key in self._keys:
                raise ValueError(f"Key {key!r} must be an image path that was not added before.")
            check_key(key)
        if len(set(keys)) < len(keys):
            raise ValueError(f"Keys must be added once, got {max(keys, key=keys.count)!r} twice.")

    def close(self) -> None:
        """Finish the current shard, then write index and manifest."""
        if self._shard is not None:
            self._finish_shard()
        try:
            finish_store(self.path)
        finally:
            self._lock.release()

    def abort(self) -> None:
        """Delete the current shard, and the folder if it is empty; complete shards stay for a later run."""
        if self._shard is not None:
            self._shard.abort()
            self._shard = None
        with suppress(OSError):  # the folder is not empty
            self.path.rmdir()
        self._lock.release()

    def _finish_shard(self) -> None:
        self._shard.finish(self._settings, self._unit)
        self._shard = None
