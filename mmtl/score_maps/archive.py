"""The released format with one file per image: `<class>/<stem>.pt`, float16 [2, k, h, w] = (logits, class indices).

`.pt` files are torch's; the caller passes the function that reads or writes one (`mmtl.utils.tensor_bytes`).
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmtl.score_maps.layout import MAX_VALUES, RecordLayout
from mmtl.score_maps.manifest import make_settings
from mmtl.score_maps.score_map import ScoreMap, ScoreMapStoreError
from mmtl.score_maps.store import ScoreMapStore
from mmtl.score_maps.writer import ScoreMapWriter, is_finished
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.image_files import files_sha256, files_under, list_images
from mmtl.utils.processes import end_with_parent

EXACT_IN_FLOAT16 = 2048  # number of class indices that float16 represents exactly
ENTRIES_PER_CHUNK = 1024
NUM_IMAGENET, NUM_GUESSED = 1000, 256  # classes; maps from which the number of classes is guessed
MAX_FILE_BYTES = 2 * 4 * MAX_VALUES + 2**20  # scores and classes of the largest map in float32, and the file's names
LONG_HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
LONG_HEADERS += (tarfile.SOLARIS_XHDTYPE,)
MAX_HEADER_BYTES = 2**20
SUFFIX = ".pt"
ANNOTATOR = {"name": "imported archive"}

TensorReader = Callable[[bytes], np.ndarray]
TensorWriter = Callable[[np.ndarray], bytes]


def archive_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield path `<class>/<stem>.pt` and content of each `.pt` file of a folder or tar archive, as a stream.

    Raises:
        FileNotFoundError: The folder or archive does not exist.
        ValueError: The archive is corrupt, contains a link, or a path in it leaves the root.
    """
    if source.is_dir():
        for name in sorted(path for path in files_under(source) if path.endswith(SUFFIX)):
            _check_size(name, (source / name).stat().st_size)
            yield _safe_path(name, source), (source / name).read_bytes()
        return
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such folder or archive.")
    try:
        with tarfile.open(source, "r|*", tarinfo=_Member) as archive:
            for member in archive:
                archive.members.clear()  # else the headers of a million files stay in memory
                name = _safe_path(member.name, source)
                if name.endswith(SUFFIX) and member.isfile():
                    _check_size(name, member.size)
                    yield name, archive.extractfile(member).read()
                elif name.endswith(SUFFIX) and not member.isdir():
                    raise ValueError(f"{source}: {name!r} must be a regular file. Pack the files instead of links.")
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # tarfile raises all kinds of errors on corrupt archives
        raise ValueError(f"{source} is corrupt or not a tar archive: {error}.") from error


class _Member(tarfile.TarInfo):
    """A member of an archive; headers of long names, which tarfile reads into memory, have a limit."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        if member.type in LONG_HEADERS and member.size > MAX_HEADER_BYTES:
            raise ValueError(f"A header of the archive must have at most {MAX_HEADER_BYTES} bytes, got {member.size}.")
        if member.type == tarfile.GNUTYPE_SPARSE:  # its list of holes can have any length
            raise ValueError(f"{member.name!r} must not be sparse. Pack the files without --sparse.")
        return member


def _check_size(name: str, size: int) -> None:
    """Raise an error before reading a file that is larger than any map."""
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{name} must have at most {MAX_FILE_BYTES} bytes, as a score map has, got {size}.")


def _safe_path(name: str, source: Path) -> str:
    """Return the last two parts, `<class>/<stem>.pt`, of the path of an entry."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"{source}: the path {name!r} leaves the archive. Do not trust this archive.")
    return "/".join(path.parts[-2:])


def read_entry(
    entry: tuple[str, bytes], *, read_tensor: TensorReader, num_classes: int, transposed: bool
) -> tuple[str, ScoreMap]:
    """Return the path without suffix and the score map of an entry (path, content); see `import_archive`.

    Raises:
        ValueError: The content is not a map of K classes.
    """
    name, content = entry
    try:
        pair = read_tensor(content)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if pair.ndim != 4 or len(pair) != 2 or not pair.size:
        raise ValueError(f"{name} must contain a tensor [2, k, h, w], got {list(pair.shape)}.")
    scores, classes = pair.transpose(0, 3, 2, 1) if transposed else pair.transpose(0, 2, 3, 1)  # [h, w, k] each
    if not np.isfinite(pair).all() or (classes % 1 != 0).any() or classes.min() < 0:
        raise ValueError(f"{name}: scores must be finite and classes must be integers from 0.")
    if classes.max() >= num_classes:
        raise ValueError(f"{name}: classes must be below --num-classes {num_classes}, got {int(classes.max())}.")
    order = np.argsort(-scores, axis=-1, kind="stable")
    scores, classes = (np.take_along_axis(part, order, axis=-1) for part in (scores, classes))
    return name.removesuffix(SUFFIX), ScoreMap(scores.astype(np.float16), classes.astype(np.uint32))


class ImageKeys:
    """The function from a path without suffix to the image's key.

    The images below a root determine each image's suffix; without a root, `suffix` (such as ".JPEG") is added.

    Attributes:
        description: What must be equal for one import to continue another.
    """

    def __init__(self, images: Path | None, suffix: str) -> None:
        self.images, self.suffix, self.description = images, suffix, suffix
        if images is not None:
            keys = list_images(images)
            self.description = hashlib.sha256("\0".join(keys).encode()).hexdigest()
            self._found = {stem: list(group) for stem, group in groupby(keys, lambda key: key[: key.rindex(".")])}

    def __call__(self, stem: str) -> str:
        """Return the key of an image."""
        if self.images is None:
            return f"{stem}{self.suffix}"
        keys = self._found.get(stem, [])
        if len(keys) != 1:
            found = f"{len(keys)}: {', '.join(keys)}" if keys else "none"
            raise ValueError(f"{stem}{SUFFIX} must have one image {self.images / stem}.*, got {found}.")
        return keys[0]


def guess_num_classes(source: Path, images: Path | None, *, read_tensor: TensorReader) -> int:
    """Return the number of classes of an archive's first maps.

    It is the number of class folders of the images (or else of the archive, if it is a folder) if all classes are
    below it, and ImageNet's 1,000 if some are at least 500.

    Raises:
        ValueError: Neither is the case.
    """
    decode = partial(read_entry, read_tensor=read_tensor, num_classes=EXACT_IN_FLOAT16, transposed=False)
    entries = islice(archive_entries(source), NUM_GUESSED)
    largest = max((int(decode(entry)[1].classes.max()) for entry in entries), default=0)
    names = list_images(images) if images else files_under(source) if source.is_dir() else []
    folders = len({PurePosixPath(name).parts[-2] for name in names if "/" in name})
    if largest < folders:
        return folders
    if NUM_IMAGENET // 2 <= largest < NUM_IMAGENET:
        return NUM_IMAGENET
    raise ValueError(
        f"{source}: --num-classes must be given, as the classes of its first maps are up to {largest}"
        + (f" and there are {folders} class folders." if folders else ". Give --images, or the number of classes.")
    )


def import_archive(
    source: Path,
    target: Path,
    num_classes: int,
    *,
    read_tensor: TensorReader,
    key_of: ImageKeys,
    transposed: bool = False,
    jobs: int = 1,
    on_batch: Callable[[int], None] = lambda count: None,
    **form: Any,
) -> int:
    """Convert a released archive to a store without unpacking it; resume an unfinished import.

    Args:
        source: Folder or tar(.gz) of `<class>/<stem>.pt`.
        target: Folder of the store.
        num_classes: K, at most 2,048: the archive's float16 indices are exact up to there.
        read_tensor: Returns the array of a `.pt` file's content; picklable if `jobs` > 1.
        key_of: Returns the image's key for a path without `.pt`; another one does not continue an import.
        transposed: Whether the last two axes of the files are (w, h).
        jobs: Number of processes that decode.
        on_batch: Called with the number of further entries that are done.
        form: `coverage`, `score_bits` and `shard_bytes` of `ScoreMapWriter`. The authors' generator labels the square
            at the center of an image: `coverage="center-square"`.

    Returns:
        Number of maps that an earlier run had imported.

    Raises:
        FileNotFoundError: The archive does not exist or contains no map.
        ValueError: An entry is not a map of K classes or occurs twice, or its path leaves the archive.
    """
    if num_classes > EXACT_IN_FLOAT16:
        raise ValueError(
            f"--num-classes must be at most {EXACT_IN_FLOAT16}, the range of exact float16 indices, got {num_classes}."
        )
    entries = archive_entries(source)
    if (first := next(entries, None)) is None:
        raise FileNotFoundError(f"{source} contains no {SUFFIX} file.")
    decode = partial(read_entry, read_tensor=read_tensor, num_classes=num_classes, transposed=transposed)
    height, width, topk = decode(first)[1].scores.shape
    layout = RecordLayout(num_classes, (height, width), topk, False, form.get("score_bits", 16))
    plan = {"files_sha256": _source_sha256(source), "transposed": transposed, "keys": key_of.description}
    if is_finished(target, make_settings(layout, ANNOTATOR, None, form.get("coverage", "whole"), plan=plan)):
        return len(ScoreMapStore(target))
    form = dict(num_classes=num_classes, grid_hw=(height, width), topk=topk, log_norm=False) | form
    writer = ScoreMapWriter(target, annotator=ANNOTATOR, plan=plan, **form)
    with writer, ProcessPoolExecutor(jobs, initializer=end_with_parent) if jobs > 1 else nullcontext() as pool:
        num_before = len(writer)
        run = partial(pool.map, chunksize=32) if pool else map
        entries = _refuse_repeated(chain([first], entries))
        while chunk := list(islice(entries, ENTRIES_PER_CHUNK)):
            new = [entry for entry in chunk if key_of(entry[0].removesuffix(SUFFIX)) not in writer]
            _add_maps(writer, run(decode, new), key_of)
            on_batch(len(chunk))
    return num_before


def _add_maps(writer: ScoreMapWriter, maps: Iterable[tuple[str, ScoreMap]], key_of: ImageKeys) -> None:
    """Add maps, each with its path without suffix, to a store."""
    for stem, score_map in maps:
        try:
            writer.add(key_of(stem), score_map)
        except ValueError as error:
            raise ValueError(f"{stem}{SUFFIX}: {error}") from None


def _source_sha256(source: Path) -> str:
    """Return a digest of names, sizes and times of the files of a folder, or of an archive."""
    if source.is_dir():
        return files_sha256(source, sorted(path for path in files_under(source) if path.endswith(SUFFIX)))
    return files_sha256(source.parent, [source.name])


def _refuse_repeated(entries: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    seen = set()
    for name, content in entries:
        if name in seen:
            raise ValueError(f"{name} occurs twice. The last two parts of the paths must be unique.")
        seen.add(name)
        yield name, content


def export_archive(
    store: ScoreMapStore, target: Path, *, write_tensor: TensorWriter, on_map: Callable[[], None] = lambda: None
) -> None:
    """Write a store in the released format to a folder, where equal files are kept; call `on_map` after each map.

    Raises:
        ScoreMapStoreError: The class indices do not fit in float16, two keys result in the same file, or the folder
            contains another map of a key.
    """
    if store.num_classes > EXACT_IN_FLOAT16:
        raise ScoreMapStoreError(
            f"{store.path}: the number of classes must be at most {EXACT_IN_FLOAT16}, the range of exact float16"
            f" indices, got {store.num_classes}."
        )
    written: dict[Path, str] = {}
    for key in store:
        path = (target / key).with_suffix(SUFFIX)
        if not path.resolve().is_relative_to(target.resolve()):
            raise ScoreMapStoreError(f"{store.path}: the key {key!r} leaves {target}.")
        if path in written:
            raise ScoreMapStoreError(f"{key} and {written[path]} both result in {path}.")
        written[path] = key
        scores, classes, _ = store[key]
        content = write_tensor(np.stack([scores, classes.astype(np.float16)]).transpose(0, 3, 1, 2))
        if not path.exists():
            with atomic_file(path) as temporary:
                temporary.write_bytes(content)
        elif path.read_bytes() != content:
            raise ScoreMapStoreError(f"{path} contains another map than {store.path}. Choose another folder.")
        on_map()
