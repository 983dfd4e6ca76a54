"""Configs for images with masks: UperNet on LV-ViT."""

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmtl.apis.project import NOTE, train_step, write_steps
from mmtl.apis.start.found_images import FoundImages
from mmtl.apis.start.masks import IGNORED, FoundMasks
from mmtl.apis.start.split_lists import write_lists
from mmtl.apis.start.templates import write_config
from mmtl.apis.start.weights import Student
from mmtl.datasets.annotation_rules import RENAMED, names_problem
from mmtl.utils.class_colors import class_palette
from mmtl.utils.classes_file import known_classes
from mmtl.utils.processes import usable_cpus
from mmtl.utils.text import join_names, quote_name, shorten

SIDES = {"cpu": 120, "cuda": 512}  # pixels of the short side that training sees
ITERATIONS = {"cpu": (500, 1_000), "cuda": (4_000, 40_000)}  # fewest and most
PASSES = {"cpu": 40, "cuda": 200}  # through the training images, within these limits
BATCH = {"cpu": 8, "cuda": 8}
MULTIPLE = {"cpu": 16, "cuda": 32}  # of the crop: patches, and levels of the pyramid


NamesAndColors = tuple[tuple[str, ...], list[list[int]]]  # names, and RGB colors


def names_and_colors(masks: FoundMasks, folder: Path, names: Sequence[str]) -> NamesAndColors:
    """Return names and colors of the classes: the user's, those of a classes.json, or numbers.

    Raises:
        ValueError: There are fewer names than classes.
    """
    known = (known_classes(folder) or (folder, {}))[1]
    names = list(names or known.get("classes", ()))
    count = max(masks.num_classes, 2)
    if names and len(names) < count:
        given = f"{len(names)} name{'s' * (len(names) != 1)}: {join_names(names)}"
        raise ValueError(f"--classes must have the {count} classes of the masks, got {given}.")
    names = names or [f"class {index}" for index in range(count)]
    palette = known.get("palette") or masks.palette or []
    usable = len(palette) >= len(names) and len({tuple(color) for color in palette[: len(names)]}) == len(names)
    return tuple(names), palette[: len(names)] if usable else class_palette(len(names)).tolist()


def check_names(classes: Sequence[str], folders: Iterable[Path]) -> list[str]:
    """Return warnings of classes that are renamed in comparison with the classes.json of folders of masks.

    Raises:
        ValueError: A folder's classes.json has the classes in another order or another number of them.
    """
    problems = list(filter(None, (names_problem(classes, folder) for folder in folders)))
    if problem := next((each for each in problems if each.kind != RENAMED), None):
        raise ValueError(
            f"--classes {problem.text}. Omit it, convert all masks with the same --classes, or correct the file."
        )
    return [f"WARNING: classes {problem.text}" for problem in problems]


def sizes_for(found: FoundImages, device: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return scale and crop: images are reduced to a short side that the device can train on, never enlarged."""
    short, multiple = min(SIDES[device], found.short_side), MULTIPLE[device]
    share = 0.8 if device == "cpu" else 1  # a CPU sees the complete scene in a small crop of it
    crop = max(2 * multiple, int(share * short) // multiple * multiple)
    long = round(max(max(size) / min(size) for size in found.sizes) * short) + 1
    return (max(long, short), short), (crop, crop)


def common_folder(paths: Sequence[str]) -> Path:
    """Return the folder, relative as the paths are, that has all of these files in it or in its subfolders."""
    return Path(os.path.commonpath([Path(path).parent for path in paths]))


def write_segmentation(
    found: FoundImages,
    masks: FoundMasks,
    table: NamesAndColors,
    folder: Path,
    work: Path,
    device: str,
    student: Student,
) -> list[str]:
    """Write the config, lists and steps, and return what was chosen, as lines for the user."""
    classes, palette = table
    count, batch_size = len(found.split.train), BATCH[device]
    fewest, most = ITERATIONS[device]
    max_iters = min(most, max(fewest, PASSES[device] * count // batch_size))
    scale, crop_size = sizes_for(found, device)
    nowhere = dict(img_path="", seg_map_path="")  # the lists have complete paths
    config, run = folder / "1_segmentation.py", work / "segmentation"
    values = dict(
        data_root="",
        train_prefix=nowhere,
        val_prefix=nowhere,
        **write_lists(folder, found.split, lambda image, mask: f"{found.root / image}\t{found.root / mask}"),
        classes=classes,
        palette=palette,
        work_dir=str(run),
        scale=scale,
        crop_size=crop_size,
        batch_size=batch_size,
        num_workers=min(2 if device == "cpu" else 8, usable_cpus()),
        max_iters=max_iters,
        val_interval=max(1, max_iters // 5),
    )
    if device == "cpu":
        write_config("lvvit-nano_upernet_1xb8-1k_owndata-96x96", config, values)
    else:
        values |= dict(weights=student.weights)
        write_config("lvvit-small_upernet_1xb8-20k_owndata-512x512", config, values)
    title = f"Train UperNet on {student.title}"
    images = found.root / common_folder([image for image, _ in found.split.entries])
    command = ["mmtl", "segment", config, run / f"iter_{max_iters}.pth", images, "-o", work / "segmented"]
    test = ["mmtl", "test", config, run / f"iter_{max_iters}.pth", "--worst", min(20, len(found.split.val))]
    notes = ("masks and overlays of all images", "mIoU of the validation images, and the worst of them")
    then = [shlex.join(map(str, words)) + NOTE + note for words, note in zip((command, test), notes, strict=True)]
    write_steps(folder, work, [train_step("segmentation", title, config, run)], then)
    return [
        f"model: UperNet on {student.title}",
        f"{len(classes)} classes: {shorten(map(quote_name, classes), 20)}"
        + (f"; {IGNORED} is ignored" * (IGNORED in masks.values)),
        f"images are resized to a short side of {scale[1]}, crops of {crop_size[0]} x {crop_size[1]} pixels",
        f"{max_iters} iterations of batches of {batch_size}",
        *([found.lists] if found.lists else []),
    ]
