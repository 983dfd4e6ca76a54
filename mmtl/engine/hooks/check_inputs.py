"""What can be known to be wrong before the first step is said then, once, and not by a worker in mid-epoch."""

import logging
import os

from mmengine.dataset import BaseDataset, InfiniteSampler
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmtl.datasets.pipelines import plain_datasets, score_map_loaders, transforms_of
from mmtl.datasets.transforms import LoadScoreMap
from mmtl.datasets.transforms.untracked import untracked
from mmtl.datasets.transforms.view import REMEDY
from mmtl.registry import HOOKS
from mmtl.utils.model_parts import head_of

MOST_LOOKED_UP = 10_000  # keys, in well under a second


@HOOKS.register_module()
class CheckInputsHook(Hook):
    """Stops a run before its first step when data and model do not fit together.

    It refuses fewer training images than one batch, annotation files that name missing images or classes, class counts
    of head, score maps and data set that differ, score maps of none of the images, transforms that would leave the
    score map behind, and a validation set that would skip images. It logs what the run is trained on.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the data loaders against each other and the model.

        Raises:
            FileNotFoundError: An annotation file names missing images, or a store is not there.
            ValueError: Something else does not fit.
        """
        check_batch(runner.train_dataloader, runner.world_size)
        head = head_of(runner.model)
        num_classes = getattr(head, "num_classes", None)
        for dataset in plain_datasets(runner.train_dataloader.dataset):
            check_annotations(dataset, num_classes)
            check_score_maps(dataset)
            if num_classes is not None:
                check_class_counts(dataset, head)
        if runner.val_loop:
            check_held_out(runner.val_dataloader, num_classes)

    def before_test(self, runner: Runner) -> None:
        """Check the test set as the validation set is checked before training."""
        check_held_out(runner.test_dataloader, num_classes=None)


def check_batch(loader: DataLoader, world_size: int) -> None:
    """Refuse a data set of fewer images than one step takes; training by iterations goes round it again instead.

    Raises:
        ValueError: The images do not fill a batch.
    """
    if isinstance(loader.sampler, InfiniteSampler) or not loader.batch_size:
        return
    images, wanted = len(loader.dataset), loader.batch_size * world_size
    if images < wanted:
        raise ValueError(
            f"the training set has {images} images, fewer than one batch of {loader.batch_size} x {world_size} "
            f"process{'es' if world_size > 1 else ''} = {wanted}; lower train_dataloader.batch_size to at most "
            f"{images // world_size} (with --auto-scale-lr), or give more images"
        )


def check_held_out(loader: DataLoader, num_classes: int | None) -> None:
    """Refuse a set that results are measured on whose annotations do not fit, or whose images others may replace.

    Raises:
        FileNotFoundError: Images are missing.
        ValueError: A label is not below ``num_classes``, or images that cannot be read would be skipped.
    """
    for dataset in plain_datasets(loader.dataset):
        check_annotations(dataset, num_classes)
        if any(getattr(step, "unreadable", "stop") == "skip" for step in transforms_of(dataset)):
            raise ValueError(
                "unreadable='skip' in the pipeline of a validation or test set: another image would take the "
                "place of one that cannot be read, and the result be of other images; leave it out there"
            )


def check_annotations(dataset: Dataset, num_classes: int | None) -> None:
    """Refuse an annotation file that names images or classes which are not there; folders were read as they are.

    Raises:
        FileNotFoundError: Images are missing.
        ValueError: A label is not below the head's ``num_classes``.
    """
    ann_file = getattr(dataset, "ann_file", "")
    if not ann_file or not isinstance(dataset, BaseDataset):
        return
    listed: dict[str, set[str]] = {}
    missing = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path, label = info.get("img_path"), info.get("gt_label")
        if num_classes is not None and isinstance(label, int) and not 0 <= label < num_classes:
            raise ValueError(
                f"{ann_file} gives {path!r} the class {label}, the head has the classes 0 to {num_classes - 1}; "
                "correct the annotation file, or model.head.num_classes"
            )
        if not isinstance(path, str) or "://" in path:
            return  # another storage than the file system
        folder, name = os.path.split(path)
        if folder not in listed:  # one listing a folder, not one question a file
            listed[folder] = set(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else set()
        if name not in listed[folder]:
            missing.append(path)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(dataset)} images that {ann_file} names are missing, first {missing[0]!r}; "
            "correct the annotation file, or data_root and data_prefix of the data set"
        )


def check_class_counts(dataset: Dataset, head: nn.Module) -> None:
    """Compare the classes of the head with those of score maps and data set, and log what is trained on.

    Raises:
        ValueError: The head has other classes than the score maps, or fewer than the data set.
    """
    classes = getattr(dataset, "metainfo", {}).get("classes")
    if classes and len(classes) > head.num_classes:
        raise ValueError(
            f"the data set has {len(classes)} classes, the head {head.num_classes}; set model.head.num_classes to "
            f"{len(classes)}, or check the folders of {getattr(dataset, 'img_prefix', 'the data set')!r}"
        )
    for load in score_map_loaders(dataset):
        found = load.store_num_classes()
        if found not in (None, head.num_classes):
            raise ValueError(
                f"the score maps of {load.store!s} were made for {found} classes, the head has {head.num_classes}; "
                f"set model.head.num_classes to {found}, or point store= to the maps of this data set"
            )
        print_log(f"Token labels: score maps of {load.store!s}", logger="current")
        return
    print_log("No score maps: training on class labels alone", logger="current")
    if getattr(head, "beta", 0) and head.predict_weight and head.token_fc.weight.any():
        print_log(
            f"With beta={head.beta} predictions add {head.predict_weight} * the logits of the patch classifier, which "
            "stays as it is; score_maps=None or model.head.beta=0 leaves it out",
            logger="current",
            level=logging.WARNING,
        )


def check_score_maps(dataset: Dataset) -> None:
    """Refuse a pipeline whose score maps fit none of the images, or do not follow them.

    Raises:
        ValueError: None of the images has a map, or a transform moves pixels without telling the view.
    """
    loads = score_map_loaders(dataset)
    names = sorted(set(untracked(transforms_of(dataset)))) if loads else []
    if names:
        raise ValueError(f"{', '.join(names)} would move the image and leave its score map behind; {REMEDY}")
    for load in loads:
        if load.missing == "label_only":
            report_coverage(load, dataset)


def report_coverage(load: LoadScoreMap, dataset: Dataset) -> None:
    """Log how many images have a score map, of at most MOST_LOOKED_UP that are spread over the data set.

    Raises:
        ValueError: None has.
    """
    indices = range(0, len(dataset), -(-len(dataset) // MOST_LOOKED_UP))
    paths = [dataset.get_data_info(index)["img_path"] for index in indices]
    mapped = sum(load.has_map(path) for path in paths)
    if not mapped:
        raise ValueError(
            f"none of {len(paths)} images has a map in {load.store!s}, such as {paths[0]!r}; check "
            f"image_root={load.image_root!r}, the folder that the score maps were made from"
        )
    print_log(f"{mapped} of {len(paths)} images looked up have a score map, the others a class label alone", "current")
