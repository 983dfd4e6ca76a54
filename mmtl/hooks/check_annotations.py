from mmcv.transforms import LoadAnnotations
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmtl.datasets.pipelines import plain_datasets, transforms_of
from mmtl.datasets.segmentation_check import restore_sides
from mmtl.registry import HOOKS

CHECK_TOOL = "`mim run mmtl check_segmentation_data CONFIG` finds all such files before a run"


@HOOKS.register_module()
class CheckAnnotationsHook(Hook):
    """Ends training with the file and the value where an annotation does not fit the model.

    Without it a label beyond the classes fails in the loss, on a GPU in a device-side assert and on a CPU in an index
    error that name no file, and an annotation larger than its image trains unseen with the labels of other places.
    Labels are looked at while the batch still lies on the CPU, sizes where the pipeline has just read the files.
    """

    def before_train(self, runner: Runner) -> None:
        """Let the training pipeline compare sizes right after it read them: a crop would hide that they differ."""
        for dataset in plain_datasets(runner.train_dataloader.dataset):
            transforms = transforms_of(dataset)
            for place in reversed(range(len(transforms))):
                if isinstance(transforms[place], LoadAnnotations):
                    transforms.insert(place + 1, check_size)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Look at the labels of one batch.

        Raises:
            ValueError: A label is neither a class nor to be ignored.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = model.decode_head
        head = head[-1] if isinstance(head, nn.ModuleList) else head  # cascades
        for sample in data_batch["data_samples"]:
            problem = label_problem(sample.gt_sem_seg.data, head.num_classes, head.ignore_index)
            if problem:
                raise ValueError(f"{sample.get('seg_map_path', 'an annotation')}: {problem}. {CHECK_TOOL}.")


def check_size(results: dict) -> dict:
    """A transform that passes on what it is given, labels with both sides.

    Raises:
        ValueError: Image and annotation differ in size.
    """
    image_hw = tuple(results["ori_shape"][:2])
    results["gt_seg_map"] = restore_sides(results["gt_seg_map"], image_hw)
    labels_hw = results["gt_seg_map"].shape[:2]
    if labels_hw != image_hw:
        path = results.get("seg_map_path", "an annotation")
        raise ValueError(
            f"{path}: {labels_hw} pixels (H, W), its image has {image_hw}: sizes have to agree. {CHECK_TOOL}."
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
