"""Merge stores, and split a store into parts."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import numpy as np

from mmtl.score_maps.folder_lock import FolderLock
from mmtl.score_maps.layout import layout_of
from mmtl.score_maps.manifest import MANIFEST_NAME, read_manifest, setting_difference
from mmtl.score_maps.score_map import ScoreMapStoreError
from mmtl.score_maps.shard import Shard, ShardWriter, read_records, shard_name
from mmtl.score_maps.writer import (
    SHARD_BYTES,
    check_unique,
    complete_shards,
    finish_store,
    is_complete,
    prepare_folder,
    remove_temporaries,
)
from mmtl.utils.atomic_file import atomic_file


def split_store(path: Path, out: Path, parts: int) -> list[Path]:
    """Distribute a store's shards to new folders, each a store of its own (with hard links where possible).

    A killed call is repeated by the same one.

    Returns:
        The folders: OUT-0, OUT-1, ...

    Raises:
        ScoreMapStoreError: There are fewer shards than folders, or a shard is missing.
        FileExistsError: A folder holds something else.
    """
    shards = all_shards(path)
    if len(shards) < parts:
        raise ScoreMapStoreError(f"parts must be at most {len(shards)}, the number of shards of {path}, got {parts}.")
    targets = [out.with_name(f"{out.name}-{number}") for number in range(parts)]
    for target, part in zip(targets, np.array_split(np.arange(len(shards)), parts), strict=True):
        _link_all([shards[number] for number in part], target)
    return targets


def merge_stores(paths: Sequence[Path], target: Path) -> None:
    """Merge several stores into one; a killed call is repeated by the same one.

    Parts of one store become that store again, shard for shard. Stores of different images with the same settings
    are repacked, in the given order.

    Raises:
        ScoreMapStoreError: The stores have different settings, a key occurs twice, or a shard is missing.
        FileExistsError: The target holds something else.
    """
    shards = [shard for path in paths for shard in all_shards(path)]
    settings = shards[0][1]["settings"]
    units = {footer["unit"] for _, footer in shards}
    if len(units) == len(shards) and all(footer["settings"] == settings for _, footer in shards):
        _link_all(shards, target)
    else:
        _repack(shards, target)


def _link_all(shards: list[tuple[Path, dict]], target: Path) -> None:
    """Make a store of links to shards."""
    names = {shard_name(footer["unit"]): footer["sha256"] for _, footer in shards}
    with _new_store(target, lambda path, footer: names.get(path.name) == footer["sha256"], len(names)) as is_finished:
        for shard, footer in [] if is_finished else shards:
            with atomic_file(target / shard_name(footer["unit"]), durable=True) as temporary:
                temporary.unlink(missing_ok=True)
                _link(Path(os.path.realpath(shard)), temporary)


def _repack(shards: list[tuple[Path, dict]], target: Path) -> None:
    """Write the records of shards to new shards of the usual size."""
    settings = _without_plan(shards[0][1])
    layout = layout_of(settings)
    for path, footer in shards:
        if difference := setting_difference(settings, _without_plan(footer)):
            raise ScoreMapStoreError(f"{path} and {shards[0][0]} have different settings: {difference}.")
    check_unique([path for path, _ in shards], layout, "Merge stores of different images")
    settings["plan"] = {"merged": hashlib.sha256("".join(each["sha256"] for _, each in shards).encode()).hexdigest()}
    with _new_store(target, lambda path, footer: footer["settings"] == settings) as is_finished:
        if is_finished:
            return
        writer, unit, undecodable = None, 0, []
        for path, footer in shards:
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


def all_shards(path: Path) -> list[tuple[Path, dict]]:
    """Return the shards of a store after a check that none is missing; a missing index does not matter."""
    manifest = read_manifest(path)
    if missing := [str(path / shard.file) for shard in manifest.shards if not (path / shard.file).is_file()]:
        raise ScoreMapStoreError(f"Shards of {path} are missing: {', '.join(missing)}. Fetch them first.")
    return complete_shards(path)


@contextmanager
def _new_store(folder: Path, is_own: Callable[[Path, dict], bool], num_shards: int | None = None) -> Iterator[bool]:
    """Create a folder, and make the shards that the body adds a store; after an error, remove the folder.

    Args:
        folder: New or empty, or what the same call has left or finished.
        is_own: Whether a shard, given its path and footer, is one that the body makes.
        num_shards: Their number, if it is known.

    Yields:
        Whether the store is finished already.
    """
    if folder.is_dir():
        found = complete_shards(folder)
        if found and all(is_own(path, footer) for path, footer in found):
            finished = (folder / MANIFEST_NAME).exists() and num_shards in (None, len(found))
            if finished and is_complete(folder, read_manifest(folder)):
                yield True
                return
        elif found:
            raise FileExistsError(f"{folder} contains shards of another store, {found[0][0].name}. Give a new folder.")
    prepare_folder(folder)
    with FolderLock(folder):
        remove_temporaries(folder)
        try:
            yield False
            finish_store(folder)
        except BaseException:
            for path in folder.iterdir():  # all of it is of this call
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
