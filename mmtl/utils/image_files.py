"""Find the image files under a folder (standard library only)."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

MAX_KEY_BYTES = 2**16  # of a store's key; paths of Linux have at most 4,096 bytes
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def list_images(root: Path, excluded: Path | None = None, allow_empty: bool = False) -> list[str]:
    """Return the keys of all images under a root: relative POSIX paths, sorted; not those under an excluded folder.

    Hidden files and folders, such as ``._1.jpg`` and ``.ipynb_checkpoints``, are left out. ``allow_empty`` accepts
    class folders without an image; see `empty_folders`.

    Raises:
        FileNotFoundError: The root is missing, or it or one of its folders contains no image.
        OSError: A folder cannot be read.
        ValueError: An image's name is not UTF-8.
    """
    check_image_folder(root)
    keys = sorted(filter(is_image, files_under(root, excluded)))
    if not keys:
        raise FileNotFoundError(f"{root} contains no image ({' '.join(IMAGE_SUFFIXES)}).")
    if not allow_empty and (empty := empty_folders(root, keys, excluded)):
        raise FileNotFoundError(f"Class folder {root / empty[0]} contains no image. Add images or remove the folder.")
    for key in keys:
        check_key(key)
    return keys


def empty_folders(root: Path, keys: Iterable[str], excluded: Path | None = None) -> list[str]:
    """Return the names of the class folders of a root, sorted, that have none of the images with these keys."""
    folders = {child.name for child in root.iterdir() if child.is_dir() and not is_hidden(child.name)}
    folders -= {key.split("/")[0] for key in keys}
    return sorted(name for name in folders if not (excluded and _is_below(excluded, root / name)))


def check_image_folder(root: Path) -> None:
    """Raise a FileNotFoundError if a folder of images does not exist or is a file."""
    if root.is_file():
        raise FileNotFoundError(f"{root} must be a folder of images, got a file. Give its folder, {root.parent}.")
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such image folder.")


def read_list(path: Path, images: Path) -> list[tuple[str, int]]:
    """Return path and class index of each line of a list of images, as MMPretrain reads them."""
    check_image_folder(images)
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        key, _, label = line.strip().rpartition(" ")
        if not key or not label.isdecimal():
            raise ValueError(f"{path}, line {number} must be a path, a space and a class index, got {line!r}.")
        if not (images / key).is_file():
            raise FileNotFoundError(f"{path}, line {number}: {key} is not in {images}. Give the folder of the list.")
        check_key(key)
        entries.append((key, int(label)))
    if not entries:
        raise ValueError(f"{path} must list images, got an empty file.")
    return entries


def check_list_labels(path: Path, entries: Sequence[tuple[str, int]], num_classes: int) -> None:
    """Raise a ValueError with the first line of a list, of which `read_list` has read entries, of an unknown class."""
    for number, (_, label) in enumerate(entries, 1):
        if label >= num_classes:
            raise ValueError(
                f"{path}, line {number}: class index must be below {num_classes}, got {label}. Give a list of the "
                "model's classes."
            )


def is_image(path: str) -> bool:
    """Return whether a relative path is that of an image file that is not hidden."""
    return path.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(path)


def is_hidden(path: str | Path) -> bool:
    """Return whether a relative path has a part that starts with a dot."""
    return any(part.startswith(".") for part in Path(path).parts if part != "..")


def files_under(root: Path, excluded: Path | None = None) -> Iterator[str]:
    """Yield the relative POSIX paths of all regular files under a folder, but not those under an excluded one.

    Symbolic links are followed, except to a folder that contains them. Devices and pipes are left out.
    """
    yield from _files_under(root, "", (), None if excluded is None else os.path.realpath(excluded))


def _files_under(root: Path, prefix: str, parents: tuple[str, ...], excluded: str | None) -> Iterator[str]:
    folder = os.path.realpath(root / prefix)
    if folder in parents or folder == excluded:  # a link to a folder that contains it, or the output
        return
    try:
        entries = list(os.scandir(root / prefix))
    except OSError as error:
        text = f"The folder {error.filename} cannot be read: {error.strerror}. Make it readable or remove it."
        raise OSError(text) from None
    for entry in entries:
        if entry.is_dir():
            yield from _files_under(root, f"{prefix}{entry.name}/", (*parents, folder), excluded)
        elif entry.is_file():
            yield prefix + entry.name


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def class_folders(keys: Sequence[str]) -> list[str]:
    """Return the first path components, sorted: the index in the list is the class index. Empty if a key has none."""
    if any("/" not in key for key in keys):
        return []
    return sorted({key.split("/")[0] for key in keys})


def check_key(key: str) -> None:
    """Raise a ValueError if a key cannot be stored: the file name is not UTF-8, or too long."""
    try:
        size, is_utf8 = len(key.encode()), key.encode() == os.fsencode(key)
    except UnicodeEncodeError:
        is_utf8 = False
    if not is_utf8:  # also: the locale decodes names otherwise, so that the key would not be that of other computers
        raise ValueError(f"{key!r}: the file name must be valid UTF-8. Rename the file, or set PYTHONUTF8=1.")
    if size > MAX_KEY_BYTES:
        raise ValueError(f"{key[:60]!r}...: a key must have at most {MAX_KEY_BYTES} bytes, got {size}.")


def files_sha256(root: Path, names: Iterable[str]) -> str:
    """Return the SHA-256 of the names, sizes and times of change of files, by which replaced files are noticed."""
    digest = hashlib.sha256()
    for name in names:
        found = os.stat(os.path.join(root, name))
        digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
