"""Merge stores, and split a store into parts."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import numpy as np

from mmtl.score_maps.folder_lock import FolderLock
from mmtl.score_maps.layout import layout_of
from mmtl.score_maps.manifest import Manifest, read_manifest, setting_difference
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.score_maps.shard import Shard, ShardWriter, read_records, shard_name
from mmtl.score_maps.writer import SHARD_BYTES, complete_shards, finish_store, prepare_folder


def split_store(path: Path, out: Path, parts: int) -> list[Path]:
    """Distribute a store's shards to new folders, each a store of its own (with hard links where possible).

    Returns:
        The folders: OUT-0, OUT-1, ...

    Raises:
        ScoreMapStoreError: There are fewer shards than folders, or a shard is missing.
        FileExistsError: A folder is not empty.
    """
    shards = [path / shard.file for shard in _manifest_with_all_shards(path).shards]
    if len(shards) < parts:
        raise ScoreMapStoreError(f"parts must be at most {len(shards)}, the number of shards of {path}, got {parts}.")
    targets = [out.with_name(f"{out.name}-{number}") for number in range(parts)]
    for target, part in zip(targets, np.array_split(np.arange(len(shards)), parts), strict=True):
        with _new_store(target):
            for number in part:
                _link(shards[number], target / shards[number].name)
    return targets


def merge_stores(paths: Sequence[Path], target: Path) -> None:
    """Merge several stores into one.

    Parts of one store become that store again, shard for shard. Stores of different images with the same settings
    are repacked, in the given order.

    Raises:
        ScoreMapStoreError: The stores have different settings, a key occurs twice, or a shard is missing.
        FileExistsError: The target is not empty.
    """
    for path in paths:
        _manifest_with_all_shards(path)
    shards = [shard for path in paths for shard in complete_shards(path)]
    settings = shards[0][1]["settings"]
    units = {footer["unit"] for _, footer in shards}
    with _new_store(target):
        if len(units) == len(shards) and all(footer["settings"] == settings for _, footer in shards):
            for shard, footer in shards:
                _link(shard, target / shard_name(footer["unit"]))
        else:
            _repack(shards, target)


def _repack(shards: list[tuple[Path, dict]], target: Path) -> None:
    """Write the records of shards to new shards of the usual size."""
    settings = _without_plan(shards[0][1])
    layout = layout_of(settings)
    writer, unit, undecodable = None, 0, []
    for path, footer in shards:
        if difference := setting_difference(settings, _without_plan(footer)):
            raise ScoreMapStoreError(f"{path} and {shards[0][0]} have different settings: {difference}.")
        undecodable += footer["undecodable"]
        keys = Shard(path, layout).keys()
        for _, records in read_records(path, layout, footer["records"]):
            writer = writer or ShardWriter(target / shard_name(unit), layout)
            writer.add(list(islice(keys, len(records))), records)
            if len(writer.keys) * layout.record_bytes >= SHARD_BYTES:
                writer.finish(settings, unit, undecodable)
                writer, unit, undecodable = None, unit + 1, []
    if writer is not None:
        writer.finish(settings, unit, undecodable)


def _without_plan(footer: dict) -> dict:
    return {name: value for name, value in footer["settings"].items() if name != "plan"}


def _manifest_with_all_shards(path: Path) -> Manifest:
    """Return the manifest after a check that no shard is missing; a missing index is no obstacle."""
    manifest = read_manifest(path)
    if missing := [str(path / shard.file) for shard in manifest.shards if not (path / shard.file).is_file()]:
        raise ScoreMapStoreError(f"Shards of {path} are missing: {', '.join(missing)}. Fetch them first.")
    return manifest


@contextmanager
def _new_store(folder: Path) -> Iterator[None]:
    """Create a folder, and make the shards that the body adds a store; after an error, remove the folder."""
    prepare_folder(folder)
    with FolderLock(folder):
        if any(folder.iterdir()):
            raise FileExistsError(f"{folder} must be empty. Give a new folder.")
        try:
            yield
            finish_store(folder)
        except BaseException:
            for path in folder.iterdir():  # the folder was empty
                path.unlink()
            with suppress(OSError):
                folder.rmdir()
            raise


def _link(source: Path, target: Path) -> None:
    """Create a hard link, which takes no space; copy across file systems."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
