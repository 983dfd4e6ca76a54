"""Packed samples to one training batch, a flat dict of tensors. Runs in the worker processes of the data loader."""

from collections.abc import Callable, Sequence

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmtl.models.token_labels.checks import check_classes, check_values
from mmtl.models.token_labels.score_map_batch import ScoreMapBatch
from mmtl.registry import FUNCTIONS

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
        samples: ``inputs`` (tensor [3, H, W]) and ``data_samples`` of each image.
        num_classes: K, to check labels and the classes of score maps; None checks that they are not negative.

    Returns:
        dict: ``inputs`` [B, 3, H, W] and the tensors of :func:`collate_labels`.

    Raises:
        ValueError: with the image's path, if a number is invalid or shapes differ.
    """
    images = [sample["inputs"] for sample in samples]
    data_samples = [sample["data_samples"] for sample in samples]
    return {"inputs": _stack(images, "image", data_samples), **collate_labels(data_samples, num_classes)}


def collate_labels(data_samples: Sequence[DataSample], num_classes: int | None = None) -> dict[str, Tensor]:
    """Stack the labels, score maps and geometry of packed samples.

    Args:
        data_samples: with ``gt_label`` and, optionally, the fields that :class:`mmtl.PackTokenLabelInputs` adds.
        num_classes: see :func:`collate_training_batch`.

    Returns:
        dict: ``labels`` int64 [B]; with score maps ``scores`` [B, h, w, k], ``classes`` [B, h, w, k], ``view_affine``
        [B, 2, 3], ``log_norm`` [B, h, w] if every map has one, ``frame_affines`` [B, F, 2, 3] if any image is padded,
        and ``has_map`` bool [B] if any image lacks a map; ``erased_boxes_xyxy`` [B, n, 4] and ``augment`` [B, L, D] if
        the samples have them.
    """
    batch = {"labels": _labels(data_samples, num_classes)}
    has_map = ["score_map_scores" in sample for sample in data_samples]
    if any(has_map):
        maps = _stack_maps(data_samples, has_map)
        _check(lambda index: check_values(maps.select(index), num_classes), data_samples)
        batch |= {name: tensor for name, tensor in maps._asdict().items() if tensor is not None}
        if not all(has_map):
            batch["has_map"] = torch.tensor(has_map)
    for name in OTHER_FIELDS:
        if name in data_samples[0]:
            batch[name] = _stack([sample.get(name) for sample in data_samples], name, data_samples)
    return batch


def _labels(data_samples: Sequence[DataSample], num_classes: int | None) -> Tensor:
    labels = torch.cat([sample.gt_label for sample in data_samples])
    _check(lambda index: check_classes(labels[index], num_classes, "label"), data_samples)
    return labels


def _stack_maps(data_samples: Sequence[DataSample], has_map: Sequence[bool]) -> ScoreMapBatch:
    """Stack score maps; an image without one gets zeros."""
    mapped = [sample for sample, found in zip(data_samples, has_map, strict=True) if found]
    first = mapped[0]

    def stacked(name: str, default: Tensor) -> Tensor:
        tensors = [sample.get(name) if found else default for sample, found in zip(data_samples, has_map, strict=True)]
        return _stack(tensors, name.replace("_map_", " map "), data_samples)

    log_norm = None
    if all("score_map_log_norm" in sample for sample in mapped):
        log_norm = stacked("score_map_log_norm", torch.full_like(first.score_map_log_norm, EVENLY_SPREAD))
    return ScoreMapBatch(
        scores=stacked("score_map_scores", torch.zeros_like(first.score_map_scores)),
        classes=stacked("score_map_classes", torch.zeros_like(first.score_map_classes)),
        view_affine=stacked("view_affine", torch.eye(2, 3)),
        log_norm=log_norm,
        frame_affines=_pad_frames([sample.get("frame_affines") for sample in data_samples]),
    )


def _pad_frames(frames: Sequence[Tensor | None]) -> Tensor | None:
    """Stack the frames [n, 2, 3] of each image to [B, F, 2, 3], padded with frames that contain every point."""
    most = max(0 if frame is None else len(frame) for frame in frames)
    if most == 0:
        return None
    padded = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]]).repeat(len(frames), most, 1, 1)
    for image, frame in enumerate(frames):
        if frame is not None:
            padded[image, : len(frame)] = frame
    return padded


def _stack(tensors: Sequence[Tensor], name: str, data_samples: Sequence[DataSample]) -> Tensor:
    for tensor, sample in zip(tensors, data_samples, strict=True):
        if tensor.shape != tensors[0].shape:
            message = (
                f"{name} must be of one shape in a batch, got {tuple(tensor.shape)} and {tuple(tensors[0].shape)}. "
                "Crop or resize all images to one size, and make all score maps with the same settings."
            )
            raise ValueError(_named(sample, message))
    return torch.stack(tensors)


def _check(check: Callable[[int | slice], None], data_samples: Sequence[DataSample]) -> None:
    """Run a check on the batch at once, and only if that fails image by image, to report the path of the wrong one."""
    try:
        check(slice(None))
    except ValueError:
        for image, sample in enumerate(data_samples):
            try:
                check(image)
            except ValueError as error:
                raise ValueError(_named(sample, error)) from None
        raise


def _named(sample: DataSample, message: object) -> str:
    """Put the image's path, if it is known, before a message."""
    return f"{sample.img_path}: {message}" if sample.get("img_path") else str(message)
