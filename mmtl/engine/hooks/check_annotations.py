import logging
import os
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from mmcv.transforms import LoadAnnotations
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmtl.datasets import annotation_rules as rules
from mmtl.datasets.dataset_parts import leaf_datasets, sampled_entries, transforms_of
from mmtl.engine.hooks.check_classes import check_head, check_segmentation_classes, heads_of
from mmtl.registry import HOOKS
from mmtl.utils.model_parts import decode_head_of, unwrap_model
from mmtl.utils.read_image import UPRIGHT, orientation_of
from mmtl.utils.text import in_line

MAX_MASKS = 50  # read before training, in a second or so


@HOOKS.register_module()
class CheckAnnotationsHook(Hook):
    """Stop a run with the file and the value if an annotation does not fit the model.

    Without this hook, a label outside the classes fails in the loss with an error that names no file (a device-side
    assert on GPUs), and counts as a wrong prediction in validation and test. An annotation larger than its image
    trains with labels of other positions. Labels are checked while the batch is on the CPU, sizes right after the
    pipeline has read the file. Before training the class tables of datasets, heads and evaluator are compared, and a
    few masks are read, for which suspicious labels and EXIF orientations are a warning.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the class tables, and look for suspicious files."""
        check_segmentation_classes(runner)
        loaders = [runner.train_dataloader, *([runner.val_dataloader] if runner.val_loop else [])]
        for dataset in (leaf for loader in loaders for leaf in leaf_datasets(loader.dataset)):
            check_names(dataset)
        if is_main_process():
            for dataset in leaf_datasets(runner.train_dataloader.dataset):
                warn_of_masks(dataset, decode_head_of(runner.model))

    def before_test(self, runner: Runner) -> None:
        """Compare the class count of the tested head with that of the test set."""
        for dataset in leaf_datasets(runner.test_dataloader.dataset):
            check_names(dataset)
            for name, head in heads_of(unwrap_model(runner.model)).items():
                if name.startswith("decode_head"):
                    check_head(name, head, "the test set", dataset)

    def _before_epoch(self, runner: Runner, mode: str = "train") -> None:
        """Check files while the pipeline loads them: after a crop the sizes are equal."""
        for dataset in leaf_datasets(getattr(runner, f"{mode}_dataloader").dataset):
            wrap_loaders(transforms_of(dataset))

    def _before_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, mode: str = "train"
    ) -> None:
        """Check the labels of one batch."""
        head = decode_head_of(runner.model)
        samples = data_batch["data_samples"]
        for sample in samples[0] if isinstance(samples[0], Sequence) else samples:  # views of a test share the labels
            if "gt_sem_seg" in sample:
                labels, reduced = sample.gt_sem_seg.data.numpy(), bool(sample.get("reduce_zero_label"))
                problem = rules.label_problem(labels, head.num_classes, head.ignore_index, reduced)
                raise_problem(sample.get("seg_map_path"), problem)


def raise_problem(path: str | None, problem: rules.Problem | None) -> None:
    """Raise a ValueError with path and remedy if there is a problem."""
    if problem:
        raise ValueError(
            f"{in_line(path or 'annotation')}: {in_line(problem.text)}. Correct the file or the config; "
            "`mmtl check_segmentation_data CONFIG` lists all such files before a run."
        )


def check_names(dataset: Dataset) -> None:
    """Compare the class names of an unwrapped dataset with those of its masks; renamed ones are a warning."""
    for problem in rules.dataset_names_problems(dataset, sampled_entries(dataset)):
        text = in_line(f"{problem.text}.")
        if problem.kind != rules.RENAMED:
            raise ValueError(text)
        print_log(text, "current", logging.WARNING)


def warn_of_masks(dataset: Dataset, head: nn.Module) -> None:
    """Log a warning if MAX_MASKS training pairs, spread over the dataset, look as if training would go wrong."""
    load = next((step for step in transforms_of(dataset) if isinstance(step, LoadAnnotations)), None)
    if load is None or not len(dataset):
        return
    step = -(-len(dataset) // MAX_MASKS)
    infos = [dataset.get_data_info(index) for index in range(0, len(dataset), step)]
    pixels = np.zeros(rules.NUM_LABELS, np.int64)
    for info in infos:
        with suppress(Exception):  # an unreadable file is an error with its name when its sample is loaded
            labels = load(dict(info))["gt_seg_map"].ravel()
            pixels += np.bincount(labels, minlength=rules.NUM_LABELS)[: rules.NUM_LABELS]
    complete = len(infos) == len(dataset)
    reduced = getattr(dataset, "reduce_zero_label", False)
    problem = rules.unused_class_problem(pixels, head.num_classes, head.ignore_index, complete, reduced)
    if problem:
        print_log(f"{in_line(infos[0].get('seg_map_path'))} and others: {problem.text}.", "current", logging.WARNING)
    turned = [info["img_path"] for info in infos if orientation_of(info["img_path"]) != UPRIGHT]
    if turned:
        text = f"{len(turned)} of {len(infos)} images {rules.ORIENTATION_NOTE}, such as {in_line(turned[0])}."
        print_log(text, "current", logging.WARNING)


def wrap_loaders(transforms: list) -> None:
    """Wrap the loading of annotations among transforms and in the views of a test, once."""
    for position, transform in enumerate(transforms):
        for view in getattr(transform, "subroutines", ()):
            wrap_loaders(view.transforms)
        if isinstance(transform, LoadAnnotations):
            transforms[position] = CheckedLoading(transform)


class CheckedLoading:
    """Load an annotation, restore sides of one pixel, and raise an error naming the file if it is unusable."""

    def __init__(self, load: LoadAnnotations) -> None:
        self.load = load

    def __call__(self, results: dict) -> dict:
        """Load the annotation of one sample."""
        path = results.get("seg_map_path")
        if path and os.path.isfile(path):  # loading with Pillow detects truncation by itself
            raise_problem(path, rules.file_problem(path, decode=self.load.imdecode_backend != "pillow"))
        try:
            results = self.load(results)
        except Exception as error:  # decoders raise all kinds of errors on corrupt files, without the path
            raise_problem(path, rules.Problem("unreadable annotation", f"cannot be read: {error}"))
        image_hw = tuple(results["ori_shape"][:2])
        labels = rules.restore_sides(results["gt_seg_map"], image_hw)
        results["gt_seg_map"] = labels = rules.turn_mask(labels, path)
        raise_problem(path, rules.size_problem(labels.shape, image_hw, results.get("img_path")))
        return results
