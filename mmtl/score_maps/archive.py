"""The released one-file-per-image form: `<class>/<stem>.pt`, float16 [2, k, h, w] = (logits, class indices)."""

import io
import pickle
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.score_maps.store import ScoreMapStore
from mmtl.score_maps.writer import SHARD_BYTES, ScoreMapWriter
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.image_files import files_under, list_images

EXACT_IN_FLOAT16 = 2048  # classes whose indices float16 holds exactly
ENTRIES_AT_ONCE = 1024
SUFFIX = ".pt"


def archive_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    """Paths `<class>/<stem>.pt` and contents of the `.pt` files of a folder or a tar archive, streamed.

    Raises:
        FileNotFoundError: There is no such folder or archive.
        ValueError: The archive is damaged, or a path in it leaves the root.
    """
    if source.is_dir():
        for name in sorted(path for path in files_under(source) if path.endswith(SUFFIX)):
            yield safe_path(name, source), (source / name).read_bytes()
        return
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such folder or archive.")
    try:
        with tarfile.open(source, "r|*") as archive:
            for member in archive:
                name = safe_path(member.name, source)
                if not name.endswith(SUFFIX) or member.isdir():
                    continue
                if not member.isfile():
                    raise ValueError(
                        f"{source}: {name!r} is a link or no file. Links are not followed: pack the files."
                    )
                yield name, archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{source} is damaged or no tar archive: {error}") from error


def safe_path(name: str, source: Path) -> str:
    """The last two parts, `<class>/<stem>.pt`, of the path of an archive's entry.

    Raises:
        ValueError: It is absolute or climbs out of the root.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"{source}: the path {name!r} leaves the archive. Nothing from it is to be trusted.")
    return "/".join(path.parts[-2:])


def read_entry(entry: tuple[str, bytes], num_classes: int, transposed: bool) -> tuple[str, ScoreMap]:
    """Stem path and score map of a `.pt` file.

    Args:
        entry: Path and content.
        num_classes: K.
        transposed: Whether the file's last two axes are (w, h).

    Raises:
        ValueError: The content is no map of K classes.
    """
    name, content = entry
    try:
        both = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own words advise to execute it
        raise ValueError(
            f"{name} cannot be read as a tensor: it is none, or damaged. Nothing in it was run."
        ) from None
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{name} cannot be read as a tensor: {reason}") from None
    if not _is_pair_of_maps(both):
        raise ValueError(f"{name} holds {_what_it_is(both)}, a float16 tensor [2, k, h, w] is wanted.")
    both = both.detach().float().transpose(2, 3) if transposed else both.detach().float()
    scores, classes = both.permute(0, 2, 3, 1).numpy()  # [h, w, k] each
    if not np.isfinite(both.numpy()).all() or (classes % 1 != 0).any() or classes.min() < 0:
        raise ValueError(f"{name}: scores have to be finite and classes whole numbers from 0.")
    if classes.max() >= num_classes:
        raise ValueError(f"{name} has class {int(classes.max())}, beyond --num-classes {num_classes}.")
    if (np.diff(np.sort(classes, axis=-1), axis=-1) == 0).any():
        raise ValueError(f"{name} names a class twice in a cell: it is no map of the best classes.")
    order = np.argsort(-scores, axis=-1, kind="stable")
    scores, classes = (np.take_along_axis(part, order, axis=-1) for part in (scores, classes))
    return name.removesuffix(SUFFIX), ScoreMap(scores.astype(np.float16), classes.astype(np.uint32))


def _is_pair_of_maps(value: object) -> bool:
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return value.is_floating_point() and value.ndim == 4 and len(value) == 2 and value.numel() > 0


def _what_it_is(value: object) -> str:
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    return f"a {value.layout} tensor of {value.dtype} {list(value.shape)} on {value.device}"


def image_keys(images: Path | None, suffix: str) -> Callable[[str], str]:
    """From an entry's path without `.pt` to the image's key: as the image root says, else with a fixed suffix."""
    if images is None:
        return lambda stem: f"{stem}{suffix}"
    keys = {key[: key.rindex(".")]: key for key in list_images(images)}

    def look_up(stem: str) -> str:
        if stem not in keys:
            raise ValueError(f"{stem}{SUFFIX} has no image {images / stem}.*: is {images} the right image root?")
        return keys[stem]

    return look_up


def import_archive(
    source: Path,
    target: Path,
    num_classes: int,
    *,
    key_of: Callable[[str], str],
    transposed: bool = False,
    jobs: int = 1,
    score_bits: int = 16,
    shard_bytes: int = SHARD_BYTES,
    on_batch: Callable[[int], None] = lambda count: None,
) -> int:
    """Turn a released archive into a store, without unpacking it to disk; continues an unfinished import.

    Args:
        source: Folder or tar(.gz) of `<class>/<stem>.pt`.
        target: Folder of the store.
        num_classes: K, at most 2,048: the archive's float16 indices are exact up to there.
        key_of: From the path without `.pt` to the image's key.
        transposed: Whether the files' last two axes are (w, h).
        jobs: Processes that decode.
        score_bits: 16, or 8 for the compact form.
        shard_bytes: Size at which a shard is closed.
        on_batch: Told how many more entries are done.

    Returns:
        Number of maps that were there already.

    Raises:
        FileNotFoundError: There is no such archive, or no map in it.
        ValueError: An entry is no map of K classes or occurs twice, or its path leaves the archive.
    """
    if num_classes > EXACT_IN_FLOAT16:
        raise ValueError(
            f"--num-classes {num_classes}: float16 class indices are exact only up to {EXACT_IN_FLOAT16}."
        )
    entries = archive_entries(source)
    decode = partial(read_entry, num_classes=num_classes, transposed=transposed)
    writer, found, before = None, 0, set()
    with ProcessPoolExecutor(jobs) if jobs > 1 else nullcontext() as pool:
        run = partial(pool.map, chunksize=32) if pool else map
        try:
            while chunk := list(islice(entries, ENTRIES_AT_ONCE)):
                if writer is None:
                    writer = _open_writer(target, num_classes, decode(chunk[0])[1], score_bits, shard_bytes)
                    found, before = len(writer), set(writer)
                new = [entry for entry in chunk if not _is_there(entry[0], key_of, before)]
                for stem, score_map in run(decode, new):
                    _add(writer, f"{stem}{SUFFIX}", key_of(stem), score_map)
                on_batch(len(chunk))
        except BaseException:
            if writer is not None:
                writer.abort()
            raise
    if writer is None:
        raise FileNotFoundError(f"{source} holds no {SUFFIX} file.")
    writer.close()
    return found


def _is_there(name: str, key_of: Callable[[str], str], before: set[str]) -> bool:
    """Whether an earlier run has imported an entry; `before`, what it left, shrinks by it."""
    key = key_of(name.removesuffix(SUFFIX))
    if key in before:
        before.remove(key)
        return True
    return False


def _open_writer(target: Path, num_classes: int, first: ScoreMap, score_bits: int, shard_bytes: int) -> ScoreMapWriter:
    height, width, topk = first.scores.shape
    return ScoreMapWriter(
        target,
        num_classes=num_classes,
        grid_hw=(height, width),
        topk=topk,
        log_norm=False,
        score_bits=score_bits,
        annotator={"name": "imported archive"},
        shard_bytes=shard_bytes,
    )


def _add(writer: ScoreMapWriter, name: str, key: str, score_map: ScoreMap) -> None:
    if key in writer:
        raise ValueError(f"{name} occurs twice: an image has one map, named by the last two parts of the file's path.")
    try:
        writer.add(key, score_map)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def export_archive(store: ScoreMapStore, target: Path, on_map: Callable[[], None] = lambda: None) -> None:
    """Write a store in the released form; files that are there already are kept.

    Raises:
        ScoreMapStoreError: Class indices do not fit in float16, or two keys give the same file.
    """
    if store.num_classes > EXACT_IN_FLOAT16:
        raise ScoreMapStoreError(f"{store.num_classes} classes: float16 indices are exact only to {EXACT_IN_FLOAT16}.")
    written: dict[Path, str] = {}
    for key in store:
        path = (target / key).with_suffix(SUFFIX)
        if not path.resolve().is_relative_to(target.resolve()):
            raise ScoreMapStoreError(f"{store.path}: the key {key!r} leaves {target}.")
        if path in written:
            raise ScoreMapStoreError(f"{key} and {written[path]} both give {path}.")
        written[path] = key
        if not path.exists():
            _save_entry(path, store[key])
        on_map()


def _save_entry(path: Path, score_map: ScoreMap) -> None:
    both = np.stack([score_map.scores, score_map.classes.astype(np.float16)]).transpose(0, 3, 1, 2)
    content = io.BytesIO()  # into a file, torch would write that file's temporary name too
    torch.save(torch.from_numpy(np.ascontiguousarray(both)), content)
    with atomic_file(path) as part:
        part.write_bytes(content.getbuffer())
