"""What can be known to be wrong before the first step is said then, once, and not by a worker in mid-epoch."""

import logging
import os
from collections.abc import Iterator

from mmengine.dataset import BaseDataset, InfiniteSampler
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmtl.datasets import LoadScoreMap
from mmtl.registry import HOOKS


@HOOKS.register_module()
class CheckInputsHook(Hook):
    """Stops a run before its first step when data and model do not fit together.

    It refuses fewer training images than one batch, annotation files that name missing images, and class counts of
    head, score maps and data set that differ. It logs what the run is trained on.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the data loaders against each other and the model.

        Raises:
            FileNotFoundError: An annotation file names missing images.
            ValueError: The images do not fill a batch, or class counts differ.
        """
        check_batch(runner.train_dataloader, runner.world_size)
        loaders = [runner.train_dataloader] + ([runner.val_dataloader] if runner.val_loop else [])
        for loader in loaders:
            for dataset in plain_datasets(loader.dataset):
                check_files(dataset)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = getattr(model, "head", None)
        if getattr(head, "num_classes", None) is not None:
            for dataset in plain_datasets(runner.train_dataloader.dataset):
                check_class_counts(dataset, head)


def plain_datasets(dataset: Dataset) -> Iterator[Dataset]:
    """The data sets inside wrappers such as ConcatDataset and RepeatDataset."""
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if inner == [None]:
        yield dataset
        return
    for part in inner:
        yield from plain_datasets(part)


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


def check_files(dataset: Dataset) -> None:
    """Refuse an annotation file that names images which are not there; folders without one were read as they are.

    Raises:
        FileNotFoundError: Images are missing.
    """
    ann_file = getattr(dataset, "ann_file", "")
    if not ann_file or not isinstance(dataset, BaseDataset):
        return
    listed: dict[str, set[str]] = {}
    missing = []
    for index in range(len(dataset)):
        path = dataset.get_data_info(index).get("img_path")
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
    loads = [step for step in transforms_of(dataset) if isinstance(step, LoadScoreMap) and step.store is not None]
    for load in loads:
        found = load.store_num_classes()
        if found not in (None, head.num_classes):
            raise ValueError(
                f"the score maps of {load.store!s} were made for {found} classes, the head has {head.num_classes}; "
                f"set model.head.num_classes to {found}, or point store= to the maps of this data set"
            )
        print_log(f"Token labels: score maps of {load.store!s}", logger="current")
    if not loads and getattr(head, "beta", 0):
        print_log(
            f"No score maps: training on class labels alone. With beta={head.beta} predictions still add "
            f"{head.predict_weight} * the logits of the patch classifier, which stays untrained; "
            "model.head.beta=0 leaves it out",
            logger="current",
            level=logging.WARNING,
        )


def transforms_of(dataset: Dataset) -> list:
    """Steps of a data set's pipeline."""
    return getattr(getattr(dataset, "pipeline", None), "transforms", [])
