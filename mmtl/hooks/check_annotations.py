from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmtl.registry import HOOKS

CHECK_TOOL = "`mim run mmtl check_segmentation_data CONFIG` finds all such files before a run"


@HOOKS.register_module()
class CheckAnnotationsHook(Hook):
    """Ends training with the file and the value where an annotation does not fit the model.

    Without it the loss fails a moment later: on a GPU in a device-side assert, on a CPU in an index error, and neither
    names the file. The batch is looked at while it still lies on the CPU.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Look at the labels of one batch.

        Raises:
            ValueError: A label is neither a class nor to be ignored, or image and annotation differ in size.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = model.decode_head
        head = head[-1] if isinstance(head, nn.ModuleList) else head  # cascades
        for image, sample in zip(data_batch["inputs"], data_batch["data_samples"], strict=True):
            problem = annotation_problem(image, sample.gt_sem_seg.data, head.num_classes, head.ignore_index)
            if problem:
                raise ValueError(f"{sample.get('seg_map_path', 'an annotation')}: {problem}. {CHECK_TOOL}.")


def annotation_problem(image: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> str | None:
    """What is wrong with a sample's labels, None for nothing.

    Args:
        image: [3, H, W], augmented.
        labels: [1, H, W] class indices, as they go into the loss.
        num_classes: K of the decode head.
        ignore_index: label without a class.
    """
    image_hw, labels_hw = tuple(image.shape[-2:]), tuple(labels.shape[-2:])
    if image_hw != labels_hw:
        return f"the annotation is {labels_hw} (H, W) and its image {image_hw} after augmentation: sizes have to agree"
    wrong = labels[(labels >= num_classes) & (labels != ignore_index)]
    if wrong.numel():
        return (
            f"{wrong.numel()} pixels have label {wrong[0].item()}, the model knows 0 to {num_classes - 1} and "
            f"{ignore_index} for no class (counted after reduce_zero_label): correct the annotation or num_classes"
        )
    return None
