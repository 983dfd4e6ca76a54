"""Convert a released LV-ViT checkpoint (classifier or segmentor) for mmtl, or the other way round.

python tools/convert_checkpoint.py lvvit_s-224-83.3.pth.tar checkpoints/lvvit-small_in1k.pth
mim run mmtl convert_checkpoint work_dirs/NAME/epoch_310.pth released.pth --to-released
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmtl.models.lvvit.released_weights import WRAPPERS, convert_released, convert_to_released
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import harmless_globals, needed_code

# What a training checkpoint of MMEngine holds beside weights and plain values; read as nothing.
MMENGINE_LOG = ("mmengine.logging.", "builtins.getattr")


def main(arguments: list[str] | None = None) -> None:
    """Convert one file; a user's mistake ends with one message and exit code 1."""
    args = parse_args(arguments)
    try:
        num_weights = convert_file(args.source, args.target, args.to_released)
    except (OSError, ValueError) as error:
        sys.exit(f"convert_checkpoint: {error}")
    print(f"{args.target}: {num_weights} weights")


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="checkpoint to read")
    parser.add_argument("target", type=Path, help="checkpoint to write")
    parser.add_argument("--to-released", action="store_true", help="from mmtl's names to the released ones")
    return parser.parse_args(arguments)


def convert_file(source: Path, target: Path, to_released: bool = False) -> int:
    """Convert ``source`` into ``target``, which appears only when it is whole.

    Args:
        source: Checkpoint to read, with unpickling restricted to tensors and plain values.
        target: Checkpoint to write: the weights under ``state_dict``, class names under ``meta`` when known.
        to_released: Whether mmtl's names become the released ones.

    Returns:
        Number of weights.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If the source holds anything but the whole weights of one LV-ViT.
    """
    checkpoint = load(source)
    convert = convert_to_released if to_released else convert_released
    try:
        weights = convert(checkpoint)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    save({"state_dict": weights, "meta": dataset_meta(checkpoint)}, target)
    return len(weights)


def load(path: Path) -> Any:
    """Read a checkpoint without running any code in it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give the checkpoint to convert")
    try:
        with torch.serialization.safe_globals(harmless_globals(path, ignored=MMENGINE_LOG)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can break the reader anywhere
        code = needed_code(error)
        if code is None:
            raise ValueError(f"{path} is no checkpoint, or damaged or cut short; get it again") from error
        raise ValueError(
            f"{path} holds more than tensors and plain values ({code}); reading that could run any code. "
            "If you trust its author, take the weights out where that does no harm, and convert the weights.pth "
            "that this writes: python -c \"import sys, torch; c = torch.load(sys.argv[1], 'cpu', weights_only=False); "
            f"torch.save({{k: c[k] for k in {WRAPPERS} if k in c}}, 'weights.pth')\" {shlex.quote(str(path))}"
        ) from error


def dataset_meta(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Class names and colours, which the inferencers of MMPretrain and MMSegmentation read from here."""
    meta = checkpoint.get("meta")
    if not isinstance(meta, Mapping):
        return {}
    names = {key.lower(): meta[key] for key in ("CLASSES", "PALETTE") if meta.get(key) is not None}
    found = meta.get("dataset_meta") or names
    return {"dataset_meta": found} if found else {}


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint that appears only when it is whole."""
    try:
        with atomic_file(path) as part, part.open("wb") as file:
            torch.save(checkpoint, file)
    except (RuntimeError, OSError) as error:  # the first: torch's zip writer on a full disk
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot write {path}: {reason}; give another target") from error


if __name__ == "__main__":
    main()
