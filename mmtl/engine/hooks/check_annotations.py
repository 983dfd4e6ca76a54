import os
from collections.abc import Sequence

from mmcv.transforms import LoadAnnotations
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtl.datasets.annotation_rules import Problem, file_problem, label_problem, restore_sides, size_problem
from mmtl.datasets.dataset_parts import leaf_datasets, transforms_of
from mmtl.registry import HOOKS
from mmtl.utils.model_parts import decode_head_of


@HOOKS.register_module()
class CheckAnnotationsHook(Hook):
    """Stop a run with the file and the value if an annotation does not fit the model.

    Without this hook, a label outside the classes fails in the loss with an error that names no file (a device-side
    assert on GPUs), and counts as a wrong prediction in validation and test. An annotation larger than its image
    trains with labels of other positions. Labels are checked while the batch is on the CPU, sizes right after the
    pipeline has read the file.
    """

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
                problem = label_problem(labels, head.num_classes, head.ignore_index, reduced)
                raise_problem(sample.get("seg_map_path"), problem)


def raise_problem(path: str | None, problem: Problem | None) -> None:
    """Raise a ValueError with path and remedy if there is a problem."""
    if problem:
        raise ValueError(
            f"{path or 'annotation'}: {problem.text}. Correct the file or the config; "
            "`mim run mmtl check_segmentation_data CONFIG` lists all such files before a run."
        )


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
            raise_problem(path, file_problem(path, decode=self.load.imdecode_backend != "pillow"))
        try:
            results = self.load(results)
        except Exception as error:  # decoders raise all kinds of errors on corrupt files, without the path
            raise_problem(path, Problem("unreadable annotation", f"cannot be read: {error}"))
        image_hw = tuple(results["ori_shape"][:2])
        results["gt_seg_map"] = restore_sides(results["gt_seg_map"], image_hw)
        raise_problem(path, size_problem(results["gt_seg_map"].shape, image_hw))
        return results
