"""What a folder of a user's images contains: class folders, or images with masks."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmtl.apis.start.class_folders import find_classes
from mmtl.apis.start.found_images import FoundImages
from mmtl.apis.start.image_masks import find_pairs
from mmtl.apis.start.near_duplicates import equal_images, find_near_duplicates
from mmtl.apis.start.split import stratified_split
from mmtl.utils.image_files import IMAGE_SUFFIXES, files_under, is_hidden, is_image
from mmtl.utils.read_image import image_size, is_complete

UNREAD = """
    .gif .heic .heif .avif .jfif .jxl .jp2 .svg .psd .tga .ico .eps .dng .nef .cr2 .cr3 .arw .orf .rw2 .raf .pef .dcm
    .mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .wmv .3gp
""".split()  # images and videos
MAX_SIZES = 2000  # images whose size is read


def find_images(root: Path, val_share: float) -> FoundImages:
    """Look through a folder, and split its images.

    Args:
        root: folder.
        val_share: share of the images for validation, unless the folder sets some apart.

    Raises:
        FileNotFoundError: There is no image in it.
        ValueError: Its images have neither classes nor masks.
    """
    files = sorted(key for key in files_under(root) if not is_hidden(key))
    keys, unread = list(filter(is_image, files)), unread_files(files)
    convert = f" Convert its {unread} to .jpg or .png." if unread else ""
    if not keys:
        raise FileNotFoundError(f"{root} contains no image ({' '.join(IMAGE_SUFFIXES)}).{convert}")
    found = find_pairs(root, keys, val_share) or find_classes(root, keys, val_share, convert)
    found.unread = unread
    found.sizes, found.unreadable = read_sizes(root, [key for key, _ in found.split.entries])
    keep_together(found, val_share)
    broken = set(found.unreadable)
    for part in (found.split.train, found.split.val):
        part[:] = [entry for entry in part if entry[0] not in broken]
    if not (found.split.train and found.split.val):
        counts = f"{len(found.split.train)} for training and {len(found.split.val)} for validation"
        raise ValueError(f"{root} must have images for training and for validation, got {counts}. Add images.")
    found.in_both = equal_images(root, *([key for key, _ in part] for part in (found.split.train, found.split.val)))
    return found


def unread_files(keys: Iterable[str]) -> str:
    """Return the number of files of each format of `UNREAD`, in words."""
    counts = Counter(suffix for key in keys if (suffix := Path(key).suffix.lower()) in UNREAD)
    listed = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
    return f"{listed} file{'s' * (counts.total() > 1)}" if listed else ""


def read_sizes(root: Path, keys: Sequence[str]) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the sizes of at most MAX_SIZES of the images, spread evenly, and those that are not complete images."""
    sizes, unreadable = [], []
    for key in keys[:: -(-len(keys) // MAX_SIZES)]:
        if (size := image_size(root / key)) and is_complete(root / key):
            sizes.append(size)
        else:
            unreadable.append(key)
    if not sizes:
        raise ValueError(f"{root}: none of its images can be read, such as {unreadable[0]}.")
    return sizes, unreadable


def keep_together(found: FoundImages, val_share: float) -> None:
    """Split images again, with near-duplicates in one part, unless there are none or too many images to compare."""
    found.may_leak, entries = not found.has_val, sorted(found.split.entries)
    if found.has_val or len(entries) > MAX_SIZES:
        return
    by_label = bool(found.classes)  # all scenes are of one class
    readable = [(key, by_label and label) for key, label in entries if key not in found.unreadable]
    groups, found.in_two = find_near_duplicates(found.root, readable)
    if groups:
        found.split = stratified_split(entries, val_share, groups, by_label)
    val = {key for key, _ in found.split.val}
    found.similar = [group for group in groups if len({key in val for key in group}) == 1]
    found.may_leak = not found.classes or len(found.similar) < len(groups)  # scenes are often far frames of a video
