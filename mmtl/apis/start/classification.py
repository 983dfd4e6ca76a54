"""Configs for class folders: teacher, score maps, LV-ViT with token labels."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtl.apis.project import NOTE, train_step, write_steps
from mmtl.apis.run_steps import Step
from mmtl.apis.start.found_images import FoundImages
from mmtl.apis.start.split_lists import write_lists
from mmtl.apis.start.teacher import Teacher
from mmtl.apis.start.templates import write_config
from mmtl.apis.start.weights import Student
from mmtl.utils.checkpoint import dataset_meta, read_checkpoint
from mmtl.utils.processes import usable_cpus

PRETRAINED_SIZE = 128  # pixels, at least: models of photographs have strides of 32, too large for small images
# Images that training sees in total, which sets its length: of teacher and student, on a CPU and on a GPU.
SEEN_PHOTOS = {"cpu": (1_000, 6_000), "cuda": (60_000, 300_000)}
SEEN_SMALL = {"cpu": (35_000, 75_000), "cuda": (100_000, 600_000)}
CNN_FACTOR = 6  # a teacher from scratch is trained for longer
RELEASED_FACTOR = {"cpu": 1 / 10, "cuda": 1 / 3}  # a pretrained LV-ViT is larger, and learns sooner

NEW_IMAGES = "NEW_IMAGES"  # a folder, in a command for the user


@dataclass
class Plan:
    """Sizes and lengths that follow from the images and the device."""

    img_size: int
    patch_size: int
    batch_size: int
    teacher_epochs: int
    student_epochs: int


def make_plan(found: FoundImages, device: str, teacher: Teacher, student: Student) -> Plan:
    """Choose image size, batch and lengths."""
    is_small, count = found.is_small, len(found.split.train)
    patch_size = 16 if not is_small else 4 if found.short_side <= 64 else 8
    img_size = patch_size * max(4, round(found.short_side / patch_size)) if is_small else 224
    for_teacher, for_student = (SEEN_SMALL if is_small else SEEN_PHOTOS)[device]
    for_teacher *= CNN_FACTOR if teacher.weights is None else 1
    for_student *= RELEASED_FACTOR[device] if student.weights else 1

    def epochs(seen: float) -> int:
        return min(100, max(3, round(seen / count)))

    batch_size = min(128 if is_small else 64 if device == "cuda" else 32, count)
    return Plan(img_size, patch_size, batch_size, epochs(for_teacher), epochs(for_student))


def check_existing(teacher: Teacher, classes: Sequence[str]) -> None:
    """Check that an existing classifier has the classes of the folder, in the same order, if it records them."""
    path = Path(teacher.existing[1])
    known = tuple(dataset_meta(read_checkpoint(path)).get("classes", ()))
    if known and known != tuple(classes):
        raise ValueError(
            f"{path}: the teacher must have the {len(classes)} classes of the folder ({', '.join(classes[:5])}, ...), "
            f"got {len(known)} ({', '.join(known[:5])}, ...). Choose another teacher, for example --teacher cnn."
        )


def write_classification(
    found: FoundImages, folder: Path, work: Path, device: str, teacher: Teacher, student: Student
) -> list[str]:
    """Write configs, lists and steps, and return what was chosen, as lines for the user."""
    plan = make_plan(found, device, teacher, student)
    common = dict(
        **write_lists(folder, found.split, "{} {}".format),
        train_images=str(found.root),
        val_images=str(found.root),
        classes=found.classes,
        batch_size=plan.batch_size,
        base_batch_size=plan.batch_size,
        num_workers=min(2 if device == "cpu" else 8, usable_cpus()),
    )
    lines, steps, score_maps = [], [], work / "score_maps"
    if teacher.existing:
        check_existing(teacher, found.classes)
        annotator: list[Any] = list(teacher.existing)
        if annotator[0].startswith("timm/"):
            annotator.insert(1, "--checkpoint")
    else:
        config, run = folder / "1_teacher.py", work / "teacher"
        write_config(teacher.template, config, common | teacher_values(teacher, plan) | dict(work_dir=str(run)))
        steps.append(train_step("teacher", f"Train the teacher, {teacher.title}", config, run))
        annotator = [config, run / f"epoch_{plan.teacher_epochs}.pth"]
        lines.append(f"teacher: {teacher.title}, {plan.teacher_epochs} epochs")
    options = ["--list", folder / "train.txt", "--topk", min(5, len(found.classes))]
    options += ["--batch-size", 16 if device == "cpu" else 64]
    # Finer maps than at the size of training; of enlarged images they would be wrong: 70 % in place of 94 % of the
    # training images (EfficientNet-Lite0 fine-tuned on CIFAR-10 at 128 pixels, 256 against 128).
    if teacher.map_factor > 1 and teacher_size(teacher, plan) == plan.img_size:
        options += ["--input-size", teacher.map_factor * plan.img_size]
    command = ["mmtl", "make_score_maps", *annotator, found.root, score_maps, *options]
    steps.append(Step("score_maps", "Make score maps", tuple(map(str, command)), score_maps))
    config, run = folder / "2_student.py", work / "student"
    values = common | student_values(student, plan) | dict(work_dir=str(run), score_maps=str(score_maps))
    write_config("lvvit-nano_1xb32-tokenlabel-60e_owndata-224px", config, values)
    steps.append(train_step("student", f"Train {student.title} with token labels", config, run))
    lines += [f"student: {student.title}, {plan.student_epochs} epochs of batches of {plan.batch_size}"]
    lines += [f"image size: {plan.img_size}, tokens of {plan.patch_size} x {plan.patch_size} pixels"]
    held = found.root / found.split.val[0][0].split("/")[0] if found.has_val else found.root
    checkpoint = run / f"epoch_{plan.student_epochs}.pth"
    only = [] if found.has_val else ["--list", folder / "val.txt"]
    command = ["mmtl", "predict", config, checkpoint, held, *only, "-o", work / "predictions.csv"]
    new = ["mmtl", "predict", config, checkpoint, NEW_IMAGES, "-o", work / "new.csv"]
    notes = ("each validation image, and their top-1", f"images of your own, in any folder {NEW_IMAGES}")
    then = [shlex.join(map(str, words)) + NOTE + note for words, note in zip((command, new), notes, strict=True)]
    write_steps(folder, work, steps, then)
    return lines


def teacher_size(teacher: Teacher, plan: Plan) -> int:
    """Return the image size of the teacher, in pixels: small images are enlarged for a pretrained one."""
    return max(plan.img_size, PRETRAINED_SIZE) if teacher.weights else plan.img_size


def teacher_values(teacher: Teacher, plan: Plan) -> dict[str, Any]:
    """Return the values of the teacher's template."""
    values = dict(img_size=teacher_size(teacher, plan), epochs=plan.teacher_epochs)
    if teacher.model_name:
        values |= dict(model_name=teacher.model_name, weights=teacher.weights, max_lr=max_lr(plan, 5e-4))
        return values | dict(mean_rgb=teacher.mean_rgb, std_rgb=teacher.std_rgb)
    if plan.patch_size < 16:
        values |= dict(backbone=dict(type="ResNet_CIFAR", strides=(2, 1, 2) if plan.patch_size == 4 else (2, 2, 2)))
        values |= dict(base_channels=20)
    return values


def max_lr(plan: Plan, base: float) -> float:
    """Return the learning rate of a run: ``base``, or twice that for batches of 128."""
    return 2 * base if plan.batch_size >= 128 else base


def student_values(student: Student, plan: Plan) -> dict[str, Any]:
    """Return the values of the student's template."""
    values = dict(img_size=plan.img_size, patch_size=plan.patch_size, epochs=plan.student_epochs)
    if student.arch:
        values |= dict(arch=student.arch, channels=student.channels, mixtoken=0.5)
    if student.weights:
        return values | dict(weights=student.weights, max_lr=1e-4)
    return values | dict(max_lr=max_lr(plan, 1e-3))
