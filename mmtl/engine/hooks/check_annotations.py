import os
from collections.abc import Sequence

from mmcv.transforms import LoadAnnotations
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import Dataset

from mmtl.datasets.annotation_rules import LABELS, highest_beyond_8_bit, restore_sides
from mmtl.datasets.dataset_parts import leaf_datasets, transforms_of
from mmtl.registry import HOOKS
from mmtl.utils.model_parts import decode_head_of

CHECK_TOOL = "`mim run mmtl check_segmentation_data CONFIG` finds all such files before a run"


@HOOKS.register_module()
class CheckAnnotationsHook(Hook):
    """Ends a run with the file and the value where an annotation does not fit the model.

    Without it a label beyond the classes fails in the loss, on a GPU in a device-side assert and on a CPU in an index
    error that name no file, and counts as a wrong prediction in a validation or test, unseen. An annotation larger
    than its image trains unseen with the labels of other places. Labels are looked at while the batch still lies on
    the CPU, sizes where the pipeline has just read the files.
    """

    def before_train(self, runner: Runner) -> None:
        """Let the training pipeline check each file as it reads it: a crop would hide that sizes differ."""
        check_loading(runner.train_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Let the validation's pipeline check what it reads."""
        check_loading(runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Let the test's pipeline check what it reads."""
        check_loading(runner.test_dataloader.dataset)

    def _before_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, mode: str = "train"
    ) -> None:
        """Look at the labels of one batch.

        Raises:
            ValueError: A label is neither a class nor to be ignored.
        """
        head = decode_head_of(runner.model)
        samples = data_batch["data_samples"]
        for sample in samples[0] if isinstance(samples[0], Sequence) else samples:  # views of a test share the truth
            if "gt_sem_seg" not in sample:
                continue
            problem = label_problem(sample.gt_sem_seg.data, head.num_classes, head.ignore_index)
            if problem:
                raise ValueError(f"{sample.get('seg_map_path', 'an annotation')}: {problem}. {CHECK_TOOL}.")


def check_loading(dataset: Dataset) -> None:
    """Let every loading of annotations in a data set check what it reads."""
    for plain in leaf_datasets(dataset):
        wrap_loaders(transforms_of(plain))


def wrap_loaders(transforms: list) -> None:
    """Wrap the loading of annotations among transforms and in the views of a test; what is wrapped stays so."""
    for place, transform in enumerate(transforms):
        for view in getattr(transform, "subroutines", ()):
            wrap_loaders(view.transforms)
        if isinstance(transform, LoadAnnotations):
            transforms[place] = CheckedLoading(transform)


class CheckedLoading:
    """A transform that reads an annotation, gives labels both sides, and names the file that cannot be used.

    Args:
        load: what reads it.
    """

    def __init__(self, load: LoadAnnotations) -> None:
        self.load = load

    def __call__(self, results: dict) -> dict:
        """Read the annotation of one sample.

        Raises:
            ValueError: It cannot be read, has several channels or values beyond 8 bit, or another size than its image.
        """
        path = results.get("seg_map_path", "an annotation")
        try:
            results = self.load(results)
            highest = highest_beyond_8_bit(path) if os.path.isfile(path) else 0
        except Exception as error:  # decoders raise whatever they like on damaged files, and name none
            raise ValueError(f"{path}: the annotation cannot be read: {error}. {CHECK_TOOL}.") from error
        image_hw = tuple(results["ori_shape"][:2])
        labels = results["gt_seg_map"] = restore_sides(results["gt_seg_map"], image_hw)
        if labels.ndim > 2:
            raise ValueError(
                f"{path}: a picture of {labels.shape[2]} channels; wanted is one channel of class indices, so write "
                f"the index of each pixel's class in place of its colour. {CHECK_TOOL}."
            )
        if highest >= LABELS:
            raise ValueError(
                f"{path}: values up to {highest}, of which MMSegmentation reads the lower 8 bits alone; wanted are "
                f"class indices below {LABELS}. {CHECK_TOOL}."
            )
        if labels.shape != image_hw:
            raise ValueError(
                f"{path}: {labels.shape} pixels (H, W), its image has {image_hw}: sizes have to agree. {CHECK_TOOL}."
            )
        return results


def label_problem(labels: Tensor, num_classes: int, ignore_index: int) -> str | None:
    """What is wrong with a sample's labels, None for nothing.

    Args:
        labels: [1, H, W] class indices, as they go into the loss.
        num_classes: K of the decode head.
        ignore_index: label without a class.
    """
    wrong = labels[(labels >= num_classes) & (labels != ignore_index)]
    if wrong.numel():
        return (
            f"{wrong.numel()} pixels have label {wrong[0].item()}, the model knows 0 to {num_classes - 1} and "
            f"{ignore_index} for no class (counted after reduce_zero_label): correct the annotation or num_classes"
        )
    return None
