"""Packed samples to one training batch, a flat dict of tensors. Runs in the worker processes of the data loader."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import default_collate

from mmtl.models.token_labels.checks import check_classes, check_values
from mmtl.models.token_labels.score_map_batch import ScoreMapBatch
from mmtl.registry import FUNCTIONS
from mmtl.utils.sample_fields import FIELD_TYPES
from mmtl.utils.text import in_line

Sample = dict | DataSample  # both have ``get`` and ``in``

# Fields of a sample that are stacked as they are, whether or not it has a score map.
OTHER_FIELDS = ("erased_boxes_xyxy", "augment")
EVENLY_SPREAD = 20.0  # log_norm of an image without score map, which has no weight in the loss


@FUNCTIONS.register_module()
def collate_training_batch(samples: Sequence[dict], num_classes: int | None = None) -> dict[str, Tensor]:
    """Stack packed samples and check their numbers, so that the training process has nothing to check.

    Use it as ``train_dataloader.collate_fn``, with :class:`mmtl.PackTokenLabelInputs` and
    :class:`mmtl.TokenLabelDataPreprocessor`. A few tensors per batch instead of several per image are cheap to send,
    to pin and to copy.

    Args:
        samples: of each image ``inputs`` (tensor [3, H, W]), and next to it or in its ``data_samples`` the label
            ``gt_label``, ``img_path``, and the fields that :class:`mmtl.PackTokenLabelInputs` adds.
        num_classes: K, to check labels and the classes of score maps; None checks that they are not negative.

    Returns:
        dict: ``inputs`` [B, 3, H, W], ``labels`` int64 [B]; with score maps ``scores`` [B, h, w, k], ``classes``
        [B, h, w, k], ``view_affine`` [B, 2, 3], ``log_norm`` [B, h, w] if every map has one, and ``has_map`` bool [B]
        if any image lacks a map; ``frame_affines`` [B, F, 2, 3] if any image is padded, ``erased_boxes_xyxy``
        [B, n, 4] and ``augment`` [B, L, D] if the samples have them.

    Raises:
        ValueError: with the image's path, if a number is invalid or shapes differ.
    """
    images = [sample["inputs"] for sample in samples]
    samples = [sample.get("data_samples", sample) for sample in samples]
    _check_shapes(images, "image", samples)
    # PyTorch's function stacks them in shared memory if this is a worker, which saves a copy.
    batch = {"inputs": default_collate(images), "labels": _labels(samples, num_classes)}
    has_map = ["score_map_scores" in sample for sample in samples]
    if any(has_map):
        maps = _stack_maps(samples, has_map)
        _check(lambda index: check_values(maps.select(index), num_classes), samples)
        batch |= {name: tensor for name, tensor in maps._asdict().items() if tensor is not None}
        if not all(has_map):
            batch["has_map"] = torch.tensor(has_map)
    elif (frames := _pad_frames([sample.get("frame_affines") for sample in samples])) is not None:
        batch["frame_affines"] = frames
    for name in OTHER_FIELDS:
        if any(name in sample for sample in samples):
            batch[name] = _stack([_present(sample, name) for sample in samples], name, samples)
    return batch


def _present(sample: Sample, name: str) -> np.ndarray | Tensor:
    if name not in sample:
        message = f"{name} must be in all samples of a batch or in none. Use the same steps for all images."
        raise ValueError(_named(sample, message))
    return sample.get(name)


def _labels(samples: Sequence[Sample], num_classes: int | None) -> Tensor:
    labels = single_labels(samples)
    _check(lambda index: check_classes(labels[index], num_classes, "label"), samples)
    return labels


def single_labels(samples: Sequence[Sample]) -> Tensor:
    """Return the one class label of each sample, int64 [B]; several labels of an image, or soft ones, are an error."""
    labels = [np.ravel(sample.get("gt_label", ())) for sample in samples]
    for sample, label in zip(samples, labels, strict=True):
        if "gt_score" in sample or len(label) != 1:
            found = "soft labels (gt_score)" if "gt_score" in sample else label.tolist()
            raise ValueError(_named(sample, f"gt_label must be one class, got {found}. Token labeling has no other."))
    return torch.as_tensor(np.concatenate(labels))


def _stack_maps(samples: Sequence[Sample], has_map: Sequence[bool]) -> ScoreMapBatch:
    """Stack score maps; an image without one gets zeros."""
    mapped = [sample for sample, found in zip(samples, has_map, strict=True) if found]

    def stacked(name: str, default: np.ndarray | float = 0) -> Tensor:
        default = None if all(has_map) else np.full_like(mapped[0].get(name), default)
        arrays = [sample.get(name) if found else default for sample, found in zip(samples, has_map, strict=True)]
        return _stack(arrays, name, samples)

    log_norm = None
    if all("score_map_log_norm" in sample for sample in mapped):
        log_norm = stacked("score_map_log_norm", EVENLY_SPREAD)
    return ScoreMapBatch(
        scores=stacked("score_map_scores"),
        classes=stacked("score_map_classes"),
        view_affine=stacked("view_affine", np.eye(2, 3)),
        log_norm=log_norm,
        frame_affines=_pad_frames([sample.get("frame_affines") for sample in samples]),
    )


def _pad_frames(frames: Sequence[np.ndarray | None]) -> Tensor | None:
    """Stack the frames [n, 2, 3] of each image to [B, F, 2, 3], padded with frames that contain every point."""
    most = max(0 if frame is None else len(frame) for frame in frames)
    if most == 0:
        return None
    padded = np.tile(np.array([0, 0, 0.5], np.float32), (len(frames), most, 2, 1))
    for image, frame in enumerate(frames):
        if frame is not None:
            padded[image, : len(frame)] = frame
    return torch.from_numpy(padded)


def _stack(arrays: Sequence[np.ndarray | Tensor], name: str, samples: Sequence[Sample]) -> Tensor:
    _check_shapes(arrays, name.replace("_map_", " map "), samples)
    return torch.from_numpy(np.stack(arrays, dtype=FIELD_TYPES[name], casting="unsafe"))


def _check_shapes(arrays: Sequence[np.ndarray | Tensor], name: str, samples: Sequence[Sample]) -> None:
    for array, sample in zip(arrays, samples, strict=True):
        if array.shape != arrays[0].shape:
            message = (
                f"{name} must be of one shape in a batch, got {tuple(array.shape)} and {tuple(arrays[0].shape)}. "
                "Crop or resize all images to one size, and make all score maps with the same settings."
            )
            raise ValueError(_named(sample, message))


def _check(check: Callable[[int | slice], None], samples: Sequence[Sample]) -> None:
    """Run a check on the batch at once, and only if that fails image by image, to report the path of the wrong one."""
    try:
        check(slice(None))
    except ValueError:
        for image, sample in enumerate(samples):
            try:
                check(image)
            except ValueError as error:
                raise ValueError(_named(sample, error)) from None
        raise


def _named(sample: Sample, message: object) -> str:
    """Put the image's path, if it is known, before a message."""
    return f"{in_line(sample.get('img_path'))}: {message}" if sample.get("img_path") else str(message)
