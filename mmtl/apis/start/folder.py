"""What a folder of a user's images contains: class folders, or images with masks."""

import difflib
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from PIL import Image

from mmtl.apis.start.layouts import layout_hint, without_ending
from mmtl.apis.start.masks import MAX_COLORS
from mmtl.apis.start.near_duplicates import find_near_duplicates
from mmtl.apis.start.split import Split, stratified_split
from mmtl.apis.start.split_lists import listed_split
from mmtl.utils.image_files import IMAGE_SUFFIXES, files_under, is_hidden
from mmtl.utils.read_image import image_size, is_complete
from mmtl.utils.text import shorten

TRAIN = ("train", "training")
HELD_OUT = ("val", "valid", "validation", "test", "testing")  # the first that has images is used
# Of lowercase letters and digits only: "Ground_Truth" is "groundtruth".
IMAGE_FOLDERS = set(
    """
    images image imgs img photos photo pictures rgb jpegimages input inputs pics frames raw rawimages originals
    originalimages leftimg8bit
    """.split()
)
MASK_FOLDERS = set(
    """
    masks mask annotations annotation annots annot anns ann annos anno labels label lbls lbl gts gt gtfine
    groundtruths groundtruth targets target segmentations segmentation segmentationclass segmentationmasks segs
    seg segmaps segmasks maskimages labelimages labelmaps colormasks indexmasks semantic
    """.split()
)
UNREAD = tuple(  # images and videos
    """
    .gif .heic .heif .avif .jfif .jxl .jp2 .svg .psd .tga .ico .eps .dng .nef .cr2 .cr3 .arw .orf .rw2 .raf .pef .dcm
    .mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .wmv .3gp
    """.split()
)
MAX_SIZES = 2000  # images whose size is read


@dataclass
class FoundImages:
    """What a folder contains."""

    root: Path
    split: Split
    classes: tuple[str, ...] = ()  # names of class folders; empty for masks
    has_val: bool = False  # whether the folder itself sets images for validation apart
    empty: list[str] = field(default_factory=list)  # folders without an image, beside class folders
    beside: list[str] = field(default_factory=list)  # folders with images beside those of the folder's own split
    unreadable: list[str] = field(default_factory=list)
    without_mask: list[str] = field(default_factory=list)  # images that are left out
    without_image: list[str] = field(default_factory=list)  # masks that are left out
    sizes: list[tuple[int, int]] = field(default_factory=list)  # width and height of a sample of the images
    similar: list[list[str]] = field(default_factory=list)  # images of one class that resemble each other, in groups
    in_two: list[tuple[str, str]] = field(default_factory=list)  # equal images of different classes
    unread: str = ""  # number of images and videos of formats that are not read, such as "5 .heic, 1 .gif files"
    classes_inside: str = ""  # class folder that may be the folder of the classes
    lists: str = ""  # what train.txt and val.txt are used for, if the folder has some
    may_leak: bool = False  # whether near-duplicates may be in both parts of a split that is made here

    @property
    def short_side(self) -> int:
        """Median of the images' short sides in pixels."""
        return round(median(min(size) for size in self.sizes))

    def classes_with(self, part: str, count: int) -> list[str]:
        """Return the classes of which a part of the split, "train" or "val", has this number of images."""
        counts = Counter(label for _, label in getattr(self.split, part))
        return [name for index, name in enumerate(self.classes) if counts[index] == count]


def find_images(root: Path, val_share: float) -> FoundImages:
    """Look through a folder.

    Args:
        root: folder.
        val_share: share of the images for validation, unless the folder sets some apart.

    Raises:
        FileNotFoundError: There is no image in it.
        ValueError: Its images have neither classes nor masks.
    """
    files = sorted(key for key in files_under(root) if not is_hidden(key))
    keys, unread = [key for key in files if key.lower().endswith(IMAGE_SUFFIXES)], unread_files(files)
    convert = f" Convert its {unread} to .jpg or .png." if unread else ""
    if not keys:
        raise FileNotFoundError(f"{root} contains no image ({' '.join(IMAGE_SUFFIXES)}).{convert}")
    pairs, without_mask, without_image = match_masks(keys)
    if not pairs:
        check_mask_names(root, keys, without_mask, without_image)
    found = find_pairs(root, pairs, val_share) if pairs else find_classes(root, keys, val_share, convert)
    if pairs:
        found.without_mask, found.without_image = without_mask, without_image
    found.unread = unread
    found.sizes, found.unreadable = read_sizes(root, [key for key, _ in found.split.train + found.split.val])
    keep_together(found, val_share)
    broken = set(found.unreadable)
    for name in ("train", "val"):
        setattr(found.split, name, [entry for entry in getattr(found.split, name) if entry[0] not in broken])
    if not (found.split.train and found.split.val):
        counts = f"{len(found.split.train)} for training and {len(found.split.val)} for validation"
        raise ValueError(f"{root} must have images for training and for validation, got {counts}. Add images.")
    return found


def unread_files(keys: Iterable[str]) -> str:
    """Return the number of files of each format of `UNREAD`, in words."""
    counts = Counter(suffix for key in keys if (suffix := Path(key).suffix.lower()) in UNREAD)
    listed = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
    return f"{listed} file{'s' * (counts.total() > 1)}" if listed else ""


def find_classes(root: Path, keys: Sequence[str], val_share: float, convert: str) -> FoundImages:
    """Return the images of class folders, which may be in folders such as ``train`` and ``val``."""
    tops = {key.split("/")[0]: key.split("/")[0].lower() for key in keys if "/" in key}
    train = next((top for top, name in tops.items() if name in TRAIN), None)
    held_out = [top for each in HELD_OUT for top, name in tops.items() if name == each]
    val = held_out[0] if held_out and (train or is_beside_classes(held_out[0], keys)) else None
    prefix = f"{train}/" if train else ""
    apart = tuple(f"{name}/" for name in held_out) if val and not train else ()  # beside the class folders
    images = [key for key in keys if key.startswith(prefix) and not key.startswith(apart)]
    classes = sorted({key.removeprefix(prefix).split("/")[0] for key in images if "/" in key.removeprefix(prefix)})
    loose = [key for key in images if "/" not in key.removeprefix(prefix)]
    are_parts = {re.sub(r"\W*\d+$", "", name.lower()) for name in classes} <= {*TRAIN, *HELD_OUT}
    if loose or are_parts or len(classes) < 2:
        remedy = "" if loose else one_class_remedy(root, folder_of_classes(images, prefix), convert)
        problem = f"{loose[0]} is in no class folder." if loose else f"the only class folder is {classes[0]!r}."
        if are_parts and len(classes) > 1:
            problem = f"its folders are parts of a split: {shorten(classes)}."
        raise ValueError(
            f"{root} must have a folder of images for each of several classes, or images and masks in folders such as "
            f"images/ and masks/, which `mmtl convert_masks` can make of polygons, but {problem}"
            + (layout_hint(root, images) or remedy)
        )
    check_classes(root, images, [prefix + name for name in classes])
    label = {name: index for index, name in enumerate(classes)}
    entries = [(key, label[key.removeprefix(prefix).split("/")[0]]) for key in images]
    folders = {path.name for path in (root / prefix).iterdir() if path.is_dir() and not is_hidden(path.name)}
    empty = sorted(folders - set(classes) - {name.rstrip("/") for name in apart})
    beside = sorted(top for top, name in tops.items() if train and top != train and name not in HELD_OUT)
    found = FoundImages(root, Split(entries), tuple(classes), has_val=bool(val), empty=empty, beside=beside)
    found.classes_inside = folder_of_classes(images, prefix)
    if not val:
        found.split = stratified_split(entries, val_share)
        return found
    held = [(key, key.split("/")[1]) for key in keys if key.startswith(f"{val}/")]
    if unknown := sorted({name for _, name in held} - set(classes)):
        raise ValueError(f"{root / val}: {unknown_class(unknown[0], classes, root / prefix)}")
    found.split.val = [(key, label[name]) for key, name in held]
    return found


def is_beside_classes(held_out: str, keys: Sequence[str]) -> bool:
    """Return whether a folder such as ``val``, beside class folders, has folders of their names."""
    names = {key.split("/")[1] for key in keys if key.startswith(f"{held_out}/") and key.count("/") > 1}
    return not names.isdisjoint(key.split("/")[0] for key in keys)


def one_class_remedy(root: Path, inside: str, convert: str) -> str:
    """Return what to do about a single class folder, which may be the folder of the classes."""
    command = shlex.join(["mmtl", "start", str(root / inside)])
    return f" If this has the classes, run {command}." if inside else convert


def folder_of_classes(keys: Sequence[str], prefix: str) -> str:
    """Return the class folder, if any, that may be the folder of the classes, since no class has an image of its own.

    Of several with folders of images, it is the one with the most images.
    """
    below = [key.removeprefix(prefix).split("/")[:-1] for key in keys]
    inner = {(folders[0], folders[1]) for folders in below if len(folders) > 1}
    several = {name for name, count in Counter(name for name, _ in inner).items() if count > 1}
    counts = Counter(folders[0] for folders in below if folders[0] in several)
    return prefix + counts.most_common(1)[0][0] if counts and min(map(len, below)) > 1 else ""


def unknown_class(name: str, classes: Sequence[str], train: Path) -> str:
    """Return what is wrong with a class folder for validation that training lacks, and both remedies."""
    names = {each.casefold(): each for each in classes}
    close = difflib.get_close_matches(name.casefold(), names, n=1)
    other = f"{names[close[0]]!r}, if it is the same class," if close else "one of these"
    return (
        f"{name!r} is not a class folder of {train}, which has {shorten(classes)}. Rename it to {other} or add "
        f"training images in {train / name}."
    )


def keep_together(found: FoundImages, val_share: float) -> None:
    """Split images again, with near-duplicates in one part, unless there are none or too many images to compare."""
    found.may_leak, entries = not found.has_val, sorted(found.split.train + found.split.val)
    if found.has_val or len(entries) > MAX_SIZES:
        return
    labels = [(key, label if found.classes else 0) for key, label in entries]  # all scenes are of one class
    readable = [entry for entry in labels if entry[0] not in found.unreadable]
    groups, found.in_two = find_near_duplicates(found.root, readable)
    if groups:
        split = stratified_split(labels, val_share, groups=groups)
        values = dict(entries)
        found.split = Split(*([(key, values[key]) for key, _ in part] for part in (split.train, split.val)))
    val = {key for key, _ in found.split.val}
    found.similar = [group for group in groups if len({key in val for key in group}) == 1]
    found.may_leak = not found.classes or len(found.similar) < len(groups)  # scenes are often far frames of a video


def pair_masks(keys: Sequence[str]) -> list[tuple[str, str]]:
    """Return (image, mask) of all images with a mask: the same path below folders such as ``images`` and ``masks``."""
    return match_masks(keys)[0]


def match_masks(keys: Sequence[str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Return (image, mask) of all images with a mask, the other images, and the other masks, as `pair_masks` does."""
    images: dict[tuple[str, ...], str] = {}
    masks: dict[tuple[str, ...], str] = {}
    for key in keys:
        parts = Path(key).with_suffix("").parts
        for index, part in enumerate(parts[:-1]):
            name = letters(part)
            kind = images if name in IMAGE_FOLDERS else masks if name in MASK_FOLDERS else None
            if kind is not None:
                stem = parts[-1].lower().removesuffix("_leftimg8bit")  # of Cityscapes
                kind.setdefault((*parts[:index], *parts[index + 1 : -1], stem), key)
                break
    names = [name for name in masks if name not in images]
    for name in sorted(names, key=lambda name: "trainids" not in name[-1]):  # preferred to other indices
        masks.setdefault((*name[:-1], without_ending(name[-1])), masks.pop(name))
    pairs = [(images[name], masks[name]) for name in sorted(images.keys() & masks.keys())]
    alone = (sorted(each[name] for name in each.keys() - other) for each, other in ((images, masks), (masks, images)))
    return pairs, *alone


def check_mask_names(root: Path, keys: Sequence[str], images: Sequence[str], masks: Sequence[str]) -> None:
    """Raise a ValueError if files without a partner fill folders of images and masks, not folders of classes."""
    folders = {letters(part) for key in images for part in Path(key).parent.parts}
    is_flat = folders <= {*TRAIN, *HELD_OUT, *IMAGE_FOLDERS} and len({key.split("/")[0] for key in images}) == 1
    if images and set(keys) == {*images, *masks} and (masks or is_flat):
        stem = Path(images[0]).stem
        raise ValueError(
            f"{root}: masks are missing: {images[0]} must have a mask {stem}.png or {stem}_mask.png in a folder "
            f"such as masks/, got {shorten(masks, 3) or 'no mask'}."
            + (layout_hint(root, keys) or " `mmtl convert_masks` makes masks of polygons.")
        )


def letters(folder: str) -> str:
    """Return a folder's name in lowercase letters and digits, without what separates its words."""
    return re.sub(r"[\W_]", "", folder.lower())


def check_classes(root: Path, keys: Sequence[str], classes: Sequence[str]) -> None:
    """Raise a ValueError if two class folders have the same file names, and one of them has files like masks."""
    if len(classes) != 2:
        return
    files = [{key.removeprefix(f"{name}/"): key for key in keys if key.startswith(f"{name}/")} for name in classes]
    stems = [{without_ending(Path(key).with_suffix("").as_posix().lower()) for key in each} for each in files]
    if 2 * len(stems[0] & stems[1]) < min(map(len, stems)):
        return
    shares = [share_like_masks([root / key for key in list(each.values())[:5]]) for each in files]
    if max(shares) < 1 or min(shares) > 0.5:  # photos, or drawings, whose names are numbers
        return
    masks, images = classes if shares[0] == 1 else classes[::-1]
    example = root / next(key for key in keys if key.startswith(f"{masks}/"))
    raise ValueError(
        f"{root}: class folders must have images of two classes, got {images}/ and {masks}/ with files of the same "
        f"names, of which those of {masks}/ look like masks, such as {example}. If they are masks, rename the folders "
        "to images and masks; if these are two classes, rename the files of one of them."
    )


def share_like_masks(paths: Sequence[Path]) -> float:
    """Return the share of files that look like masks in those that can be read."""
    found = [each for path in paths if (each := looks_like_mask(path)) is not None]
    return sum(found) / max(len(found), 1)


def looks_like_mask(path: Path) -> bool | None:
    """Return whether a file has so few values or colors, for its size, as masks have; None if it cannot be read."""
    try:
        with Image.open(path) as image:
            pixels = image.width * image.height
            colors = (image if image.mode in ("1", "L", "P") else image.convert("RGB")).getcolors(MAX_COLORS)
    except Exception:  # decoders raise all kinds of errors on corrupt files
        return None
    return colors is not None and 4 * len(colors) <= pixels


def find_pairs(root: Path, pairs: Sequence[tuple[str, str]], val_share: float) -> FoundImages:
    """Return images and masks, split by folders such as ``train`` and ``val``, or by lists, if there are any."""
    parts = {pair: {part.lower() for part in Path(pair[0]).parent.parts} for pair in pairs}
    train = [pair for pair in pairs if parts[pair] & set(TRAIN)]
    val = next((found for name in HELD_OUT if (found := [pair for pair in pairs if name in parts[pair]])), [])
    others = [pair for pair, names in parts.items() if not names & {*TRAIN, *HELD_OUT}]
    beside = sorted({str(Path(image).parent) for image, _ in others}) if train else []
    train = train or (others if val else [])
    listed, note = listed_split(root, pairs)
    if train and val:
        note = note and "train.txt and val.txt are not used: the folders have a split"
        return FoundImages(root, Split(train, val), has_val=True, beside=beside, lists=note)
    if listed:
        return FoundImages(root, listed, has_val=True, lists=note)
    chosen = stratified_split([(pair, 0) for pair in train or pairs], val_share)
    split = Split([pair for pair, _ in chosen.train], [pair for pair, _ in chosen.val])
    return FoundImages(root, split, beside=beside, lists=note)


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
