"""Compare the class tables of datasets, heads and checkpoints: where they differ, labels would shift."""

import logging
from collections.abc import Mapping, Sequence

from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmtl.datasets.dataset_parts import leaf_datasets, sampled_entries
from mmtl.score_maps.class_table import ClassTable
from mmtl.utils.image_files import is_hidden
from mmtl.utils.model_parts import unwrap_model
from mmtl.utils.text import in_line, shorten


def classes_of(dataset: Dataset) -> tuple[str, ...]:
    """Return the class names of an unwrapped dataset; empty if it has none."""
    return tuple(getattr(dataset, "metainfo", {}).get("classes") or ())


def check_same_classes(tables: Mapping[str, Sequence[str]]) -> None:
    """Compare the class table of the first source, by its description, with each other one.

    Another position of a class in both is an error, as labels would be those of other classes; other differences are
    a warning. Sources without names are skipped.
    """
    (first, names), *others = [(source, tuple(names)) for source, names in tables.items() if names] or [("", ())]
    for source, other in others:
        if other == names:
            continue
        text = (
            f"The classes of {first} and of {source} must be the same in the same order, got {len(names)} and "
            f"{len(other)}, which differ in {differences(names, other)} and {differences(other, names)}."
        )
        positions = {name: index for index, name in enumerate(names)}
        if any(positions.get(name, index) != index for index, name in enumerate(other)):
            raise ValueError(f"{text} Labels would shift: add or remove class folders, or give both the same classes.")
        print_log(text, logger="current", level=logging.WARNING)


def differences(table: Sequence[str], other: Sequence[str]) -> str:
    """Return the classes of a table, with their indices, that another one has not at the same index."""
    return shorten(f"{i} {name!r}" for i, name in enumerate(table) if (name,) != tuple(other[i : i + 1])) or "none"


def check_class_order(source: str, table: ClassTable | None, classes: Sequence[str]) -> None:
    """Check that classes that an annotator knows by name have the index that they have in the dataset.

    Args:
        source: whose classes they are, for the message.
        table: the annotator's classes, None if they are unknown.
        classes: the dataset's.
    """
    if moved := table.moved(classes) if table else []:
        texts = shorten(f"{name!r} is {index} in the dataset and {other} in the maps" for name, index, other in moved)
        raise ValueError(
            f"{source} must have the dataset's indices, but {texts}. List them in the dataset's order in the file of "
            "make_score_maps --classes or model.annotator.classes, or correct the dataset's metainfo."
        )


def check_no_hidden_files(dataset: Dataset) -> None:
    """Refuse class folders such as .ipynb_checkpoints, which shift the labels of all others, and images in them.

    Images are those of `sampled_entries`. Tools leave hidden files out, so that they have no score maps.
    """
    root = getattr(dataset, "img_prefix", None)
    if root is None or getattr(dataset, "ann_file", ""):
        return
    if hidden := [name for name in classes_of(dataset) if name.startswith(".")]:
        raise ValueError(f"{root}: the hidden folder {in_line(hidden[0])} counts as a class. Remove it.")
    for info in sampled_entries(dataset):
        path = info.get("img_path", "")
        if is_hidden(path.removeprefix(root).lstrip("/")):
            raise ValueError(f"{in_line(path)}: a file in a hidden folder counts as an image. Remove the folder.")


def check_single_labels(dataset: Dataset) -> None:
    """Refuse datasets with several labels of an image, or soft ones, which token labeling has no use for."""
    if not hasattr(dataset, "get_data_info"):
        return
    for info in sampled_entries(dataset):
        label = info.get("gt_label")
        many = isinstance(label, Sequence) or getattr(label, "ndim", 0)
        if "gt_score" in info or (many and len(label) != 1):
            raise ValueError(
                f"{in_line(info.get('img_path'))}: an image must have one class label, got "
                f"{'soft labels (gt_score)' if 'gt_score' in info else f'the labels {list(label)}'}. Give the dataset "
                "one class per image, or use a classifier and a multi-label head of MMPretrain."
            )


def check_segmentation_classes(runner: Runner) -> None:
    """Compare training set, validation set, decode heads, auxiliary heads and evaluator of a segmentation run."""
    sets = {"the training set": runner.train_dataloader.dataset}
    if runner.val_loop:
        sets["the validation set"] = runner.val_dataloader.dataset
    leaves = [(source, leaf) for source, dataset in sets.items() for leaf in leaf_datasets(dataset)]
    heads = heads_of(unwrap_model(runner.model))
    for source, dataset in leaves:
        for name, head in heads.items():
            check_head(name, head, source, dataset)
        check_same_classes({"the training set": classes_of(leaves[0][1]), source: classes_of(dataset)})
    metrics = runner.val_loop.evaluator.metrics if runner.val_loop else ()
    ignored = {f"{type(metric).__name__}": getattr(metric, "ignore_index", None) for metric in metrics}
    ignored |= {f"model.{name}": head.ignore_index for name, head in heads.items()}
    for name, value in ignored.items():
        expected = getattr(leaves[-1][1], "ignore_index", value)
        if value not in (None, expected):
            text = f"ignore_index of {name} should be {expected}, as in the dataset, got {value}. Set it there."
            print_log(text, logger="current", level=logging.WARNING)


def heads_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the decode and auxiliary heads of a segmentor by their names in the config."""
    found = {}
    for name in ("decode_head", "auxiliary_head"):
        heads = getattr(model, name, None)
        for index, head in enumerate(heads if isinstance(heads, nn.ModuleList) else [heads]):
            if hasattr(head, "num_classes") and hasattr(head, "ignore_index"):
                found[f"{name}.{index}" if isinstance(heads, nn.ModuleList) else name] = head
    return found


def check_head(name: str, head: nn.Module, source: str, dataset: Dataset) -> None:
    """Compare the class count of a segmentation head with a dataset's."""
    classes = classes_of(dataset)
    if classes and len(classes) != head.num_classes:
        raise ValueError(
            f"model.{name}.num_classes must be {len(classes)}, the number of classes of {source} "
            f"({shorten(classes)}), got {head.num_classes} for {head.out_channels} output channels. Correct it, or "
            "metainfo.classes of the dataset."
        )
    losses = head.loss_decode if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
    for loss in losses:
        weight = getattr(loss, "class_weight", None)
        if hasattr(weight, "__len__") and len(weight) != head.num_classes == head.out_channels:
            raise ValueError(
                f"model.{name}.loss_decode ({type(loss).__name__}).class_weight must have {head.num_classes} values, "
                f"the number of classes, got {len(weight)}."
            )
    if head.out_channels == 1 and not all(getattr(loss, "use_sigmoid", True) for loss in losses):
        print_log(
            f"model.{name} has one output channel, for which a softmax is constant and learns nothing. Set "
            "use_sigmoid=True in its loss_decode.",
            logger="current",
            level=logging.WARNING,
        )
