"""Convert checkpoint files between the released names and mmtl's."""

from pathlib import Path

import torch

from mmtl.models.lvvit.released_weights import convert_released, convert_to_released
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import dataset_meta, read_checkpoint


def convert_file(source: Path, target: Path, to_released: bool = False) -> int:
    """Convert a checkpoint file to mmtl's names, or to the released ones, and return the number of weights.

    The target holds the weights under ``state_dict`` and, where known, class names and palette under ``meta``, where
    the inferencers of MMPretrain and MMSegmentation find them. No code in the source is run.

    Raises:
        OSError: if a file cannot be read or written.
        ValueError: if the source does not hold the complete weights of one LV-ViT or VOLO.
    """
    contents = read_checkpoint(source)
    try:
        weights = (convert_to_released if to_released else convert_released)(contents)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    meta = dataset_meta(contents)
    try:
        with atomic_file(target) as part, part.open("wb") as file:
            torch.save({"state_dict": weights, "meta": {"dataset_meta": meta} if meta else {}}, file)
    except RuntimeError as error:  # torch's zip writer on a full disk
        raise OSError(f"{target} cannot be written: {error}. Choose another target.") from error
    return len(weights)
