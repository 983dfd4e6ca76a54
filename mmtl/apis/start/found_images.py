"""What `mmtl start` has found in a folder of images, and its description for the user."""

import itertools
import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from mmtl.apis.start.split import Split
from mmtl.utils.text import shorten

SMALL = 96  # pixels; images with shorter sides are not photographs


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
    in_both: list[tuple[str, str]] = field(default_factory=list)  # equal images of training and validation
    unread: str = ""  # number of images and videos of formats that are not read, such as "5 .heic, 1 .gif files"
    classes_inside: str = ""  # class folder that may be the folder of the classes
    lists: str = ""  # what train.txt and val.txt are used for, if the folder has some
    may_leak: bool = False  # whether near-duplicates may be in both parts of a split that is made here

    @property
    def short_side(self) -> int:
        """Median of the images' short sides in pixels."""
        return round(median(min(size) for size in self.sizes))

    @property
    def is_small(self) -> bool:
        """Whether the images are too small for photographs."""
        return self.short_side <= SMALL

    def classes_with(self, part: str, count: int) -> list[str]:
        """Return the classes of which a part of the split, "train" or "val", has this number of images."""
        counts = Counter(label for _, label in getattr(self.split, part))
        return [name for index, name in enumerate(self.classes) if counts[index] == count]


def describe(found: FoundImages) -> list[str]:
    """Return what was found, as lines for the user."""
    widths, heights = zip(*found.sizes, strict=True)
    spans = (f"{min(each)} to {max(each)}" if min(each) < max(each) else f"{each[0]}" for each in (widths, heights))
    sizes = f"{' x '.join(spans)} pixels"
    kind = f"in {len(found.classes)} classes ({shorten(found.classes)})" if found.classes else "with masks"
    origin = "its own split" if found.has_val else "split here, nothing was moved"
    lines = [
        f"{len(found.split.entries)} images {kind}, {sizes}",
        f"{len(found.split.train)} for training, {len(found.split.val)} for validation ({origin})",
    ]
    if found.similar:
        count, example = sum(map(len, found.similar)), " and ".join(found.similar[0][:2])
        others = "others of their class" if found.classes else "others"
        lines.append(f"{count} images resemble {others} (such as {example}): each group is in one part")
    if found.may_leak:
        lines.append(
            "near-duplicates, such as frames of one video, may be in both parts, which makes results look too good: "
            "put validation images of their own into val/ then, and the others into train/"
        )
    for files, kind, other in ((found.without_mask, "image", "mask"), (found.without_image, "mask", "image")):
        if files:
            many = f"{len(files)} {kind}s have no {other} of the same name and are"
            start = many if len(files) > 1 else f"1 {kind} has no {other} of the same name and is"
            lines.append(f"{start} left out: {shorten(files, 3)}")
    return lines + warnings_about(found)


def warnings_about(found: FoundImages) -> list[str]:
    """Return what a folder lacks, with names, as lines for the user."""
    count = len(found.unreadable)
    files = "1 file is truncated or not an image" if count == 1 else f"{count} files are truncated or not images"
    only_one = "" if found.has_val else ", with a single image each"
    without_val, single = found.classes_with("val", 0), found.classes_with("train", 1)
    problems = {
        f"{files}, and left out": found.unreadable,
        "folders without an image are left out": found.empty,
        "folders beside those for training and validation are left out": found.beside,
        "classes without a training image": found.classes_with("train", 0),
        f"classes without a validation image{only_one}": without_val,
        "classes with one training image": [name for name in single if found.has_val or name not in without_val],
    }
    lines = [f"WARNING: {problem}: {shorten(names, 10)}" for problem, names in problems.items() if names]
    if found.unread:
        are = "is" if found.unread.endswith("file") else "are"
        reason = "since these formats are not read: convert them to .jpg or .png"
        lines.append(f"WARNING: {found.unread} {are} left out, {reason}")
    if found.classes_inside:
        inside = found.root / found.classes_inside
        command = shlex.join(["mmtl", "start", str(inside)])
        lines.append(
            f"WARNING: all class folders have their images in subfolders: if {inside} has the classes, run {command}"
        )
    val, train = len(found.split.val), len(found.split.train)
    if val > train:
        lines.append(f"WARNING: more images are for validation ({val}) than for training ({train})")
    if found.in_two:
        count, example = len(set(itertools.chain(*found.in_two))), " and ".join(found.in_two[0])
        lines.append(f"WARNING: {count} images are in two classes, such as {example}")
    if found.in_both:
        example = " and ".join(found.in_both[0])
        lines.append(
            f"WARNING: {len(found.in_both)} of {val} validation images are also training images, such as {example}, "
            "which makes results look too good. Remove them from one part"
        )
    return lines
