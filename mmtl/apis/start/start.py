"""`mmtl start`: from a folder of images to ready configs."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mmtl.apis.convert_masks import from_values
from mmtl.apis.mask_files import Labels, Table, write_masks
from mmtl.apis.project import default_out
from mmtl.apis.start.arguments import check_arguments
from mmtl.apis.start.class_values import names_of_indices, parse_pairs, parse_value
from mmtl.apis.start.classification import write_classification
from mmtl.apis.start.folder import find_images
from mmtl.apis.start.found_images import FoundImages, describe
from mmtl.apis.start.masks import FoundMasks, check_sizes, find_masks
from mmtl.apis.start.read_masks import text_of
from mmtl.apis.start.segmentation import (
    NamesAndColors,
    check_names,
    common_folder,
    names_and_colors,
    write_segmentation,
)
from mmtl.apis.start.teacher import choose_teacher
from mmtl.apis.start.weights import SCRATCH, Student, choose_student
from mmtl.apis.start.written import MARKER, writing
from mmtl.utils.text import shorten

VAL_SHARE = 0.2


@dataclass
class Wishes:
    """What a user sets; the rest follows from the images and the device."""

    val: float | None = None  # share of the images for validation; None: VAL_SHARE
    teacher: Sequence[str] = ()  # see `choose_teacher`
    student: str | None = None  # see `choose_student`
    classes: Sequence[str] = ()  # names for the values of masks
    convert: bool = False  # whether masks that are not class indices are converted
    ignore: str | None = None  # gray level or color of pixels without a label, for masks that are converted
    device: str | None = None  # "cpu" or "cuda"; None: the GPU if there is one
    force: bool = False  # whether configs that have been edited are replaced


def start(folder: Path, out: Path, wishes: Wishes) -> list[str]:
    """Write configs, lists and steps for the images of a folder, and return what was found and chosen.

    Raises:
        FileNotFoundError: There is no such folder.
        FileExistsError: ``out`` has other content, or configs that have been edited.
        ValueError: The folder cannot be trained on as it is.
    """
    check_arguments(folder, out, wishes.val)
    with writing(out, wishes.force):
        return write_project(folder, out, wishes)


def write_project(folder: Path, out: Path, wishes: Wishes) -> list[str]:
    """Write what `start` returns a description of."""
    found = find_images(folder, VAL_SHARE if wishes.val is None else wishes.val)
    device = wishes.device or ("cuda" if torch.cuda.is_available() else "cpu")
    work = Path("work_dirs") / folder.resolve().name
    lines = describe(found)
    if found.has_val and wishes.val is not None:
        raise ValueError(f"{folder}: --val needs images that are not split, got a validation folder. Omit it.")
    if found.classes and (wishes.classes or wishes.convert or wishes.ignore is not None):
        shown = shorten(found.classes)
        raise ValueError(
            f"{folder}: --classes, --convert and --ignore need masks, got class folders: {shown}. Omit them."
        )
    if not found.classes:
        more, masks, table = class_masks(found, folder, out, wishes)
        lines += more
        student, notes = Student("a nano LV-ViT from scratch"), []
        if device == "cuda":
            if wishes.student not in (None, "small", SCRATCH):
                raise ValueError(f"--student must be small or scratch for segmentation, got {wishes.student}.")
            student, notes = choose_student(wishes.student, device, 10**9, False, out)
        return lines + notes + write_segmentation(found, masks, table, out, work, device, student)
    prepare(out)
    is_small, count = found.is_small, len(found.split.train)
    teacher, notes = choose_teacher(wishes.teacher, device, is_small, len(found.classes), out)
    student, more = choose_student(wishes.student, device, count, is_small, out)
    return lines + notes + more + write_classification(found, out, work, device, teacher, student)


def class_masks(
    found: FoundImages, folder: Path, out: Path, wishes: Wishes
) -> tuple[list[str], FoundMasks, NamesAndColors]:
    """Make sure that masks have class indices, and return lines about them, the masks, and names and colors."""
    check_sizes(found.root, found.split.entries)
    masks, named = find_masks([found.root / str(mask) for _, mask in found.split.entries]), parse_pairs(wishes.classes)
    if masks.kind != "index" or (wishes.convert and set(named) != set(range(len(named)))):
        if not wishes.convert:
            raise ValueError(refusal(folder, masks, out, common_folder(mask_names(found))))
        lines = [] if named else black_class(masks, wishes.ignore)
        prepare(out)
        table, labels = from_values(found.root, mask_names(found), wishes.classes, wishes.ignore)
        masks = convert(found, out / "masks", table, labels)
        lines += [f"masks are converted: {table.legend}", *table.notes]
        return lines, masks, names_and_colors(masks, out / "masks", table.classes)
    if wishes.ignore is not None:
        raise ValueError(f"{folder}: --ignore needs masks to convert, these have class indices. Save 255 instead.")
    folders = sorted({(found.root / name).parent for name in mask_names(found)})
    table = names_and_colors(masks, folders[0], names_of_indices(wishes.classes))
    warnings = check_names(table[0], folders)
    prepare(out)
    return [*warnings, *masks.warnings(len(table[0]))], masks, table


def prepare(out: Path) -> None:
    """Make the folder of the configs, and mark it as one that may be written again."""
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


def refusal(folder: Path, masks: FoundMasks, out: Path, below: Path) -> str:
    """Return why masks in the folder ``below`` cannot be used as they are, and the command that converts them."""
    text = f"{folder}: {masks.reason}. Add --convert, which writes index masks to {out / 'masks' / below}."
    value = "color" if masks.kind == "color" else "value"
    text += f" If a {value} means 'no label', also {masks.no_label} in place of its name." * bool(masks.no_label)
    command = ["mmtl", "start", str(folder), *([] if out == default_out(folder) else ["-o", str(out)])]
    command += ["--convert", "--classes", ",".join(f"{text_of(value)}=NAME" for value in masks.values)]
    text += f" The {value}s with their share of the pixels:{masks.table()}"
    return f"{text}\n  With names in place of NAME (or without --classes):\n  {shlex.join(command)}"


def black_class(masks: FoundMasks, ignore: str | None) -> list[str]:
    """Return a line for the user if black, which often means "no label", becomes a class."""
    black, name = ((0, 0, 0), "#000000 (black)") if masks.kind == "color" else (0, "gray level 0")
    if not masks.no_label or black not in masks.values or parse_value(ignore, masks) == black:
        return []
    return [f"{name} is class 0; if it means 'no label', start again with {masks.no_label}"]


def mask_names(found: FoundImages) -> list[str]:
    """Return the masks of a folder, as paths below it."""
    return sorted(str(mask) for _, mask in found.split.entries)


def convert(found: FoundImages, out: Path, table: Table, labels: Labels) -> FoundMasks:
    """Write index masks of a folder's masks, and let its split name them."""
    write_masks(out, table, labels)
    for part in (found.split.train, found.split.val):
        part[:] = [(image, (out / str(mask)).with_suffix(".png").resolve()) for image, mask in part]
    return find_masks([Path(str(mask)) for _, mask in found.split.entries])
