"""Check data and model against each other before the first step rather than in a worker in the middle of an epoch."""

import logging
import os
from collections.abc import Sequence

from mmengine.dataset import BaseDataset, InfiniteSampler
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmtl.datasets.dataset_parts import leaf_datasets, sampled_entries, score_map_loaders, transforms_of
from mmtl.datasets.transforms import LoadScoreMap, PackTokenLabelInputs
from mmtl.datasets.transforms.untracked import untracked
from mmtl.datasets.transforms.view import REMEDY
from mmtl.engine.hooks.check_annotator import check_annotator, storeless_labels
from mmtl.engine.hooks.check_classes import (
    check_class_order,
    check_no_hidden_files,
    check_same_classes,
    check_single_labels,
    classes_of,
)
from mmtl.engine.hooks.check_sizes import check_one_size
from mmtl.models import TokenLabelDataPreprocessor, TokenLabelHead
from mmtl.registry import HOOKS
from mmtl.utils.checkpoint import dataset_meta
from mmtl.utils.model_parts import head_of, unwrap_model
from mmtl.utils.text import in_line, shorten


@HOOKS.register_module()
class CheckInputsHook(Hook):
    """Stop a run before its first step if data and model do not fit together.

    The hook raises an error for: fewer training images than one batch, annotation files that list missing images or
    unknown classes, images of different sizes that are not resized, several labels of an image, hidden folders that
    count as classes, different class tables of training set, validation set, head, score maps and tested checkpoint,
    score maps that match no image, transforms that do not update ``view_affine``, an online annotator that does not
    fit, steps with ``on_device=True`` whose draws nobody applies, and a validation set that would skip images. It logs
    whether training uses score maps.
    """

    checkpoint_classes: Sequence[str] = ()

    def before_train(self, runner: Runner) -> None:
        """Check the data loaders against each other and the model."""
        check_batch(runner.train_dataloader, runner.world_size)
        head = head_of(runner.model)
        num_classes = getattr(head, "num_classes", None)
        train_classes = classes_of(next(leaf_datasets(runner.train_dataloader.dataset)))
        for dataset in leaf_datasets(runner.train_dataloader.dataset):
            check_no_hidden_files(dataset)
            if isinstance(head, TokenLabelHead):
                check_single_labels(dataset)
            check_annotations(dataset, num_classes)
            check_one_size(dataset, "train_dataloader", runner.train_dataloader.batch_size)
            check_score_maps(dataset)
            check_device_steps(dataset, runner.model)
            if num_classes is not None:
                check_class_counts(dataset, head, storeless_labels(runner.model))
            check_annotator(dataset, runner.model)
        check_counts(runner.train_dataloader, runner.model, num_classes)
        if runner.val_loop:
            check_held_out(runner.val_dataloader, num_classes, "the training set", train_classes)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the classes that a checkpoint was trained with."""
        self.checkpoint_classes = dataset_meta(checkpoint).get("classes", ())

    def before_test(self, runner: Runner) -> None:
        """Check the test set as the validation set is checked before training."""
        num_classes = getattr(head_of(runner.model), "num_classes", None)
        check_held_out(runner.test_dataloader, num_classes, "the checkpoint", self.checkpoint_classes)


def check_counts(loader: DataLoader, model: nn.Module, num_classes: int | None) -> None:
    """Compare the class counts of data preprocessor and collate function with the head's."""
    preprocessor = getattr(unwrap_model(model), "data_preprocessor", None)
    if num_classes is None or not isinstance(preprocessor, TokenLabelDataPreprocessor):
        return
    collated = getattr(loader.collate_fn, "keywords", {}).get("num_classes")
    counts = {"model.data_preprocessor": preprocessor.num_classes, "train_dataloader.collate_fn": collated}
    for name, count in counts.items():
        if count not in (None, num_classes):
            raise ValueError(
                f"{name}.num_classes must be {num_classes}, as model.head.num_classes, got {count}. Set both."
            )


def check_batch(loader: DataLoader, world_size: int) -> None:
    """Check that the dataset fills one batch; an infinite sampler fills it from several passes."""
    if isinstance(loader.sampler, InfiniteSampler) or not loader.batch_size:
        return
    images, needed = len(loader.dataset), loader.batch_size * world_size
    if images < needed:
        raise ValueError(
            f"The training set must fill one batch of {loader.batch_size} x {world_size} "
            f"rank{'s' if world_size > 1 else ''} = {needed} images, got {images}. Lower train_dataloader.batch_size "
            f"to at most {images // world_size} (with --auto-scale-lr), or add images."
        )


def check_held_out(loader: DataLoader, num_classes: int | None, source: str = "", classes: Sequence[str] = ()) -> None:
    """Check annotations and classes of a validation or test set, and that no image can be replaced by another.

    ``classes`` are those that the model learns or has learned, from ``source``.
    """
    for dataset in leaf_datasets(loader.dataset):
        check_no_hidden_files(dataset)
        check_same_classes({source: classes, "the validation or test set": classes_of(dataset)})
        check_annotations(dataset, num_classes)
        check_one_size(dataset, "val_dataloader or test_dataloader", loader.batch_size)
        check_device_steps(dataset, model=None)
        if any(getattr(step, "unreadable", "stop") == "skip" for step in transforms_of(dataset)):
            raise ValueError(
                "LoadImageFromFile must not have unreadable='skip' in the pipeline of a validation or test set: "
                "the result would count other images instead of unreadable ones. Remove the option there."
            )


def check_annotations(dataset: Dataset, num_classes: int | None) -> None:
    """Check that the images and classes of an annotation file exist; class folders need no check."""
    ann_file = getattr(dataset, "ann_file", "")
    if not ann_file or not isinstance(dataset, BaseDataset):
        return
    missing, names_in = [], {}  # each folder is listed once instead of one system call per file
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path, label = info.get("img_path"), info.get("gt_label")
        if num_classes is not None and isinstance(label, int) and not 0 <= label < num_classes:
            raise ValueError(
                f"{ann_file}: class of {path!r} must be 0 to {num_classes - 1}, the classes of the head, got {label}. "
                "Correct the annotation file or model.head.num_classes."
            )
        if not isinstance(path, str) or "://" in path:
            return  # not in the local file system
        folder, name = os.path.split(path)
        if folder not in names_in:
            names_in[folder] = set(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else set()
        if name not in names_in[folder]:
            missing.append(path)
    if missing:
        raise FileNotFoundError(
            f"{ann_file}: {len(missing)} of {len(dataset)} images do not exist, first {missing[0]!r}. "
            "Restore them, correct the annotation file (`mmtl start` writes its lists again), or correct data_root or "
            "data_prefix, the dataset's folders."
        )


def check_class_counts(dataset: Dataset, head: nn.Module, labels: str | None = None) -> None:
    """Compare the class counts of head, score maps and dataset, and log whether training uses score maps.

    ``labels`` is what patch tokens learn from in place of a store, if anything.
    """
    classes = classes_of(dataset)
    if classes and len(classes) < head.num_classes:
        text = (
            f"model.head.num_classes should be {len(classes)}, the number of classes of the dataset "
            f"({shorten(classes)}), got {head.num_classes}. Set it, or ignore this if other classes are spare."
        )
        print_log(text, logger="current", level=logging.WARNING)
    if len(classes) > head.num_classes:
        raise ValueError(
            f"model.head.num_classes must be at least {len(classes)}, the number of classes of the dataset, got "
            f"{head.num_classes}. Raise it, or check the folders of {getattr(dataset, 'img_prefix', 'the dataset')!r}."
        )
    if labels is not None:
        print_log(f"Patch tokens learn from {labels}.", logger="current")
        return
    for load in score_map_loaders(dataset):
        found = load.store_num_classes()
        if found not in (None, head.num_classes):
            raise ValueError(
                f"{load.store!s}: model.head.num_classes must be {found}, the number of classes of the score maps, "
                f"got {head.num_classes}. Set it, or set store= to the score maps of this dataset; make_score_maps "
                "--classes makes those of a part of the annotator's classes."
            )
        check_class_order(f"{load.store!s}: classes of the score maps", load.class_table(), classes)
        print_log(f"Training with token labels from the score maps of {load.store!s}.", logger="current")
        return
    print_log("No score maps: training with class labels only.", logger="current")
    if getattr(head, "beta", 0) and head.predict_weight and head.token_fc.weight.any():
        print_log(
            f"The patch classifier is not trained, but with beta={head.beta} its logits * {head.predict_weight} are "
            "added to predictions. Set score_maps=None or model.head.beta=0 to leave it out.",
            logger="current",
            level=logging.WARNING,
        )


def check_score_maps(dataset: Dataset) -> None:
    """Check that score maps match some of the images and that every transform tracks its geometry."""
    loads = score_map_loaders(dataset)
    if loads and (names := sorted(set(untracked(transforms_of(dataset))))):
        raise ValueError(f"{', '.join(names)} would move the image without its score map. {REMEDY}")
    for load in loads:
        if load.missing == "label_only":
            report_coverage(load, dataset)


def check_device_steps(dataset: Dataset, model: nn.Module | None) -> None:
    """Check that the draws of steps with ``on_device=True`` are packed, and applied by the model to train, if any."""
    steps = transforms_of(dataset)
    names = [type(step).__name__ for step in steps if getattr(step, "on_device", False)]
    preprocessor = getattr(unwrap_model(model), "data_preprocessor", None) if model else None
    is_packed = any(isinstance(step, PackTokenLabelInputs) for step in steps)
    if names and not (is_packed and isinstance(preprocessor, TokenLabelDataPreprocessor)):
        raise ValueError(
            f"{', '.join(names)} with on_device=True must be in a training pipeline that ends in "
            "mmtl.PackTokenLabelInputs, with mmtl.TokenLabelDataPreprocessor as model.data_preprocessor: nothing else "
            "applies the draws. Use these, or set on_device=False."
        )


def report_coverage(load: LoadScoreMap, dataset: Dataset) -> None:
    """Log how many of the `sampled_entries` have a score map."""
    paths = [info["img_path"] for info in sampled_entries(dataset)]
    mapped = sum(load.has_map(path) for path in paths)
    if not mapped:
        raise ValueError(
            f"{load.store!s}: none of {len(paths)} images has a score map, such as {paths[0]!r}. Set "
            f"image_root={load.image_root!r} to the folder that the score maps were made from."
        )
    text = f"{mapped} of {len(paths)} images have a score map; the others train with class labels only."
    if missing := load.num_missing():
        text += f" {missing} maps of {load.store!s} are out of reach, as their shards are missing. Fetch them."
    print_log(in_line(text), "current", logging.WARNING if missing else logging.INFO)
