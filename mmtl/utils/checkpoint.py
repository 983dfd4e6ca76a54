"""Loading a checkpoint that has to fit, without running code from it."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


class _Ignored:
    """Stands for whatever a checkpoint holds beside tensors and plain values; nothing of it is needed, or run."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def harmless_globals(path: Path, ignored: tuple[str, ...] = ("",)) -> list:
    """What stands for the names in a checkpoint that are not tensors: NumPy's own, and nothing at all for the rest.

    Training checkpoints of MMEngine hold its log and its schedulers beside the weights.

    Args:
        path: The checkpoint.
        ignored: How the names begin that nothing stands for; others stay unknown to the reader, which refuses them.

    Returns:
        What `torch.serialization.safe_globals` takes.
    """
    core = np._core if hasattr(np, "_core") else np.core
    modules = ("numpy._core.multiarray", "numpy.core.multiarray")
    arrays = [(core.multiarray._reconstruct, f"{name}._reconstruct") for name in modules]
    arrays += [(core.multiarray.scalar, f"{name}.scalar") for name in modules]
    dtypes = [type(np.dtype(kind)) for kind in (bool, "f4", "f8", "i4", "i8", "u1", "u4", "u8")]
    unknown = [name for name in _unknown_globals(path) if not name.startswith("numpy.")]
    others = [(_Ignored, name) for name in unknown if name.startswith(ignored)]
    return [np.ndarray, np.dtype, *dtypes, *arrays, *others]


def _unknown_globals(path: Path) -> list[str]:
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:  # torch lists no names of its old format, in which OpenMMLab publishes plain weights
        return []


def needed_code(error: Exception) -> str | None:
    """The name that `torch.load(weights_only=True)` did not want to import, None if it failed of something else."""
    found = re.search(r"unsupported (?:global|class)[^.]*? (?:global )?([\w.]*\w)", str(error), re.IGNORECASE)
    return found[1] if found else None


def load_weights(model: nn.Module, path: Path) -> list[str] | None:
    """Load a checkpoint that has to fit, and give the class names that it knows.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint, or does not fit the model.
    """
    checkpoint = read_checkpoint(path)
    fit_weights(model, _state_of(checkpoint), str(path))
    meta = checkpoint.get("meta") or {}
    return (meta.get("dataset_meta") or {}).get("classes") or meta.get("CLASSES")


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint; see `load_weights`."""
    return _state_of(read_checkpoint(path))


def _state_of(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    state = checkpoint.get("state_dict", checkpoint)
    return {name.removeprefix("module."): value for name, value in state.items()}


def fit_weights(model: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Load weights that have to fit.

    Raises:
        ValueError: A weight is missing, left over or of another shape.
    """
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{source} does not fit the model: {reason}") from None
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        examples = ", ".join((missing + unexpected)[:3])
        raise ValueError(
            f"{source} does not fit the model: {len(missing)} weights are missing and {len(unexpected)} have"
            f" no place, such as {examples}. Give the config that the checkpoint was trained with."
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Contents of a checkpoint, without running code from it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint of tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint. Give a weights file, or `random`.")
    try:
        with torch.serialization.safe_globals(harmless_globals(path)):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can break the reader anywhere
        code = needed_code(error)
        reason = f"it holds {code}, which could run any code" if code else "it is none, or damaged or cut short"
        raise ValueError(f"{path} cannot be read as a checkpoint: {reason}") from None
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, a dictionary of weights is wanted.")
    return checkpoint


def state_sha256(model: nn.Module) -> str:
    """SHA-256 over the names and values of all weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
