"""Read checkpoints of any training code, without running code from them.

The weights are the first of these that a file holds, each with or without the prefix ``module.`` of data-parallel
training:

1. ``state_dict_ema``: the averaged weights of timm and of the released code.
2. ``state_dict``: MMEngine's weights. Its EMAHook saves the averaged ones here and the plain ones in
   ``ema_state_dict``.
3. ``ema_state_dict``: averaged weights of other training code, which has no ``state_dict`` beside them.
4. ``model``: plain weights, as torchvision's and DeiT's scripts name them.
5. The file's own entries.
"""

import ast
import hashlib
import re
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import Tensor, nn

from mmtl.utils.download import cached_download
from mmtl.utils.text import in_line, shorten
from mmtl.utils.type_name import type_name

WRAPPINGS = ("state_dict_ema", "state_dict", "ema_state_dict", "model")
MODULE = "module."
SUFFIXES = (".pth", ".pt", ".ckpt", ".tar")
SCHEME = "unwrapped:"  # of paths that mmengine's loader passes to `load_from_unwrapped`
BACKBONE_SCHEME, BACKBONE = "backbone-of:", "backbone."


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the contents of a checkpoint, reading only tensors, NumPy arrays and plain values.

    Objects of other classes, such as the log and the schedulers of a training run, are read as placeholders. The path
    can be a URL, which is downloaded once.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not an intact checkpoint, or unpickling it could run code.
    """
    if url := re.match(r"(https?):/+(.+)", str(path)):  # a Path has one slash there
        path = cached_download(f"{url[1]}://{url[2]}", file_problem)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint.{_checkpoints_beside(path)}")
    if problem := file_problem(path):
        raise ValueError(f"{path} cannot be read as a checkpoint: {problem}. Copy or download it again.")
    try:
        with torch.serialization.safe_globals(_safe_globals(path)):
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a corrupt file can break the reader anywhere
        found = re.search(r"unsupported (?:global|class)[^.]*? (?:global )?([\w.]*\w)", str(error), re.IGNORECASE)
        problem = f"it holds {found[1]}, which could run any code" if found else "it is invalid, corrupt or truncated"
        raise ValueError(f"{path} cannot be read as a checkpoint: {problem}.") from None
    if not isinstance(contents, dict):
        raise ValueError(f"{path} must hold a dictionary of weights, got a {type(contents).__name__}.")
    return contents


def _checkpoints_beside(path: Path) -> str:
    """Return a sentence about the newest checkpoints of a folder, or of the folder of a missing file."""
    folder = path if path.is_dir() else path.parent
    found = [each for each in folder.glob("*") if each.suffix in SUFFIXES and each.is_file()]
    found.sort(key=lambda each: (-each.stat().st_mtime, each.name))
    return f" {folder} contains {shorten((each.name for each in found), 3)}." if found else ""


def file_problem(path: Path) -> str | None:
    """Return what keeps a file from being an intact checkpoint, None if nothing is found.

    The format of torch before 1.6, in which OpenMMLab publishes weights, has no checksums.
    """
    if path.is_dir():  # a sharded checkpoint
        return None
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start != b"PK":
            return None if start[:1] == b"\x80" else "it is not a checkpoint of torch, perhaps an error page"
        with zipfile.ZipFile(path) as records:
            broken = records.testzip()
    except Exception as error:  # a corrupt directory of records can break zipfile anywhere
        return f"it is missing or truncated ({error})"
    return f"its record {broken} is corrupt" if broken else None


def unwrap_weights(contents: Mapping[str, Any]) -> OrderedDict[str, Tensor]:
    """Return the weights in what `read_checkpoint` returns, without the prefix ``module.``; at least one."""
    found = next((contents[name] for name in WRAPPINGS if isinstance(contents.get(name), Mapping)), contents)
    weights = OrderedDict((_without_module(str(name)), value) for name, value in found.items())
    if found is contents.get("ema_state_dict"):
        weights.pop("steps", None)  # the number of updates of mmengine's averaged model
    others = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if others or not weights:
        where = f"plain or under one of {', '.join(WRAPPINGS)}"
        raise ValueError(f"The checkpoint must hold tensors by name, {where}, got {shorten(others) or 'no weights'}.")
    check_finite(weights)
    metadata = getattr(found, "_metadata", {})
    weights._metadata = OrderedDict((_without_module(name), value) for name, value in metadata.items())
    return weights


def _without_module(name: str) -> str:
    return "" if f"{name}." == MODULE else name.removeprefix(MODULE)


def dataset_meta(contents: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dataset's ``classes`` and ``palette`` as far as a checkpoint's contents record them."""
    meta = contents.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    found = meta.get("dataset_meta") or {name.lower(): meta.get(name) for name in ("CLASSES", "PALETTE")}
    known = dict(found) if isinstance(found, Mapping) else {}
    known = {name: value for name, value in known.items() if isinstance(value, list | tuple | np.ndarray)}
    if not all(isinstance(name, str) for name in known.get("classes", ())):
        del known["classes"]
    if not all(map(_is_color, known.get("palette", ()))):
        del known["palette"]
    return known


def _is_color(value: Any) -> bool:
    is_triple = isinstance(value, list | tuple | np.ndarray) and len(value) == 3
    return is_triple and all(isinstance(each, int | np.integer) and 0 <= each <= 255 for each in value)


def load_weights(model: nn.Module, path: Path) -> dict[str, Any]:
    """Load a checkpoint that must fit a model as in `fit_weights`, and return its `dataset_meta`."""
    contents = read_checkpoint(path)
    fit_weights(model, unwrap_weights(contents), str(path))
    return dataset_meta(contents)


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights, just those that a model has; errors name their source."""
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        reason = reason.removeprefix("The checkpoint does not fit this model: ")  # of mmtl's own classifiers
        raise ValueError(f"{source} does not fit the model: {in_line(reason)}") from None
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if names := missing + unexpected:
        raise ValueError(
            f"{source} does not fit the model: {len(missing)} missing and {len(unexpected)} unexpected keys, such as"
            f" {in_line(', '.join(names[:3]))}. Give the config that the checkpoint was trained with."
        )


def check_finite(weights: Mapping[str, Any], prefix: str = "") -> None:
    """Raise an error with the name of the first weight under a prefix that is NaN or infinite."""
    for name, value in weights.items():
        has_values = isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta
        # The sum is fast. It can overflow, and is not finite if any value is not.
        if name.startswith(prefix) and has_values and not (value.sum().isfinite() or value.isfinite().all()):
            raise ValueError(
                f"{in_line(name)} of the checkpoint holds NaN or infinite values: the file is corrupt or its training "
                "diverged. Use another checkpoint."
            )


def state_sha256(model: nn.Module) -> str:
    """Return the SHA-256 of the names and values of all weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def unwrapped_path(path: str) -> str:
    """Return the path under which mmengine reads a checkpoint with `load_from_unwrapped`."""
    return path if path.startswith(SCHEME) else SCHEME + path


def pretrained_init_cfg(init_cfg: dict | list[dict] | None, checkpoint: str | None) -> dict | list[dict] | None:
    """Return the ``init_cfg`` of a backbone; a checkpoint, of a complete model or its own, is loaded after it."""
    if checkpoint is not None:
        init_cfg = [*([init_cfg] if isinstance(init_cfg, dict) else init_cfg or ()), pretrained_init(checkpoint)]
    return unwrapped_init_cfg(init_cfg)


def unwrapped_init_cfg(init_cfg: dict | list[dict] | None) -> dict | list[dict] | None:
    """Return an ``init_cfg`` whose ``Pretrained`` checkpoints are read with `load_from_unwrapped`.

    With ``prefix='backbone.'`` they are read with `load_backbone`: released names have no such prefix.
    """
    if isinstance(init_cfg, list):
        return [unwrapped_init_cfg(cfg) for cfg in init_cfg]
    if init_cfg is None or type_name(init_cfg["type"]) not in ("Pretrained", "PretrainedInit"):
        return init_cfg
    path = str(init_cfg["checkpoint"])
    if init_cfg.get("prefix") in (BACKBONE, BACKBONE.rstrip(".")):
        return {**{key: init_cfg[key] for key in init_cfg if key != "prefix"}, **pretrained_init(path)}
    return {**init_cfg, "checkpoint": unwrapped_path(path)}


@CheckpointLoader.register_scheme(prefixes="", force=True)
def load_from_local(filename: str, map_location: str | Callable | None = None) -> dict[str, Any]:
    """Read a local file for whatever in MMEngine reads one: ``--resume``, ``mim test``, ``init_cfg``, inferencers.

    MMEngine's own function unpickles a file without restriction when the restricted reading fails.
    """
    contents = read_checkpoint(Path(filename).expanduser())
    for weights in (contents, *(contents[name] for name in WRAPPINGS if isinstance(contents.get(name), Mapping))):
        check_finite(weights)
    _remove_code(contents)
    if "state_dict_ema" in contents or "state_dict" not in contents:  # MMEngine looks for `state_dict` only
        if any(isinstance(contents.get(name), Mapping) for name in WRAPPINGS):
            with suppress(ValueError):  # a file of other code, which MMEngine takes as it is
                contents["state_dict"] = unwrap_weights(contents)
    return contents


@CheckpointLoader.register_scheme(prefixes=("http://", "https://"), force=True)
def load_from_http(filename: str, map_location: str | Callable | None = None, **_: Any) -> dict[str, Any]:
    """Read the file of a URL as `load_from_local`; it is downloaded once, into torch's hub cache."""
    return load_from_local(str(cached_download(filename, file_problem)), map_location)


def _load_fetched(file: str | Path | BinaryIO, map_location: str | Callable | None = None, **_: Any) -> dict[str, Any]:
    """Read as `load_from_local` what MMEngine has fetched from storage, such as ``s3://``, or found for a name."""
    if isinstance(file, str | Path):
        return load_from_local(str(file), map_location)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fetched.pth")
        path.write_bytes(file.read())
        return load_from_local(str(path), map_location)


# All of MMEngine's schemes, also for names such as ``torchvision://resnet18``, read with these two functions, which
# unpickle without restriction.
mmengine_checkpoint._safe_torch_load = _load_fetched
mmengine_checkpoint.load_from_http = load_from_http


def _remove_code(contents: dict[str, Any]) -> None:
    """Remove config texts with code, which MMEngine executes: ``config`` on resuming, ``cfg`` in inferencers."""
    hub = contents.get("message_hub")
    for texts in (contents.get("meta"), hub.get("runtime_info") if isinstance(hub, dict) else None):
        for name in ("config", "cfg"):
            if isinstance(texts, dict) and name in texts and not _is_data(texts[name]):
                del texts[name]


def _is_data(config: Any) -> bool:
    """Return whether a config text only assigns literals and ``dict(...)`` to names, as MMEngine writes it."""
    try:
        statements = ast.parse(config).body
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return False
    names = {getattr(target, "id", None) for each in statements for target in getattr(each, "targets", [None])}
    parts = [part for each in statements for part in ast.walk(getattr(each, "value", each))]
    calls = [part.func for part in parts if isinstance(part, ast.Call)]
    allowed = (ast.Call, ast.Name, ast.Load, ast.keyword, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set)
    allowed += (ast.UnaryOp, ast.USub)
    return (
        names.isdisjoint({None, "_base_", "dict"})
        and all(isinstance(part, allowed) for part in parts)
        and all(getattr(call, "id", None) == "dict" for call in calls)
    )


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_from_unwrapped(filename: str, map_location: str | Callable | None = None) -> dict[str, Any]:
    """Read a checkpoint for mmengine, which knows only ``state_dict`` and plain weights.

    Returns:
        The contents of the file, or of whatever else mmengine's loader takes, with the weights in ``state_dict``.
    """
    source = filename.removeprefix(SCHEME)
    path = Path(source).expanduser()
    contents = CheckpointLoader.load_checkpoint(str(path) if path.is_file() else source, map_location)
    try:
        weights = unwrap_weights(contents)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    is_wrapped = any(isinstance(contents.get(name), Mapping) for name in WRAPPINGS)
    return {**(contents if is_wrapped else {}), "state_dict": weights}


def pretrained_init(path: str) -> dict[str, str]:
    """Return the ``init_cfg`` of a backbone whose weights are those of a file, of a complete model or its own."""
    return dict(type="Pretrained", checkpoint=BACKBONE_SCHEME + path)


@CheckpointLoader.register_scheme(prefixes=BACKBONE_SCHEME)
def load_backbone(filename: str, map_location: str | Callable | None = None) -> dict[str, Any]:
    """Read a checkpoint for mmengine as `load_from_unwrapped`; of a complete model only the backbone, unprefixed."""
    weights = load_from_unwrapped(filename.removeprefix(BACKBONE_SCHEME), map_location)["state_dict"]
    own = OrderedDict((n.removeprefix(BACKBONE), w) for n, w in weights.items() if n.startswith(BACKBONE))
    own._metadata = {f"{n}.".removeprefix(BACKBONE).removesuffix("."): m for n, m in weights._metadata.items()}
    return {"state_dict": own if len(own) else weights}


class _Placeholder:
    """Stand for an object that is not needed, whose class is never imported."""

    def _ignore(self, *args: Any) -> None:
        pass

    __init__ = __setstate__ = __setitem__ = _ignore


def _known_method(owner: Any, name: str) -> Any:
    """Stand for ``getattr``, with which OneCycle schedulers and histories pickle their functions."""
    if name in ("_annealing_cos", "_annealing_linear"):
        return getattr(OneCycleParamScheduler, name)
    return getattr(HistoryBuffer, name) if name in ("min", "max", "current", "mean") else _Placeholder()


def _safe_globals(path: Path) -> list:
    """Return what `torch.serialization.safe_globals` takes.

    These are what MMEngine resumes from, which is NumPy's arrays, the log and the functions of OneCycle schedulers,
    and a placeholder for all others.

    torch refuses functions of modules such as ``os`` even so.
    """
    arrays = []
    for module in ("numpy._core.multiarray", "numpy.core.multiarray"):  # NumPy 2's and 1's name
        arrays += [(getattr(np._core.multiarray, name), f"{module}.{name}") for name in ("_reconstruct", "scalar")]
    dtypes = [type(np.dtype(code)) for code in "?bBhHiIlLqQefdU"]  # numbers, and text such as class names
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:  # torch cannot list the classes in its old format
        unknown = []
    known = [np.ndarray, np.dtype, *dtypes, *arrays, HistoryBuffer, (_known_method, "builtins.getattr")]
    names = {f"{HistoryBuffer.__module__}.{HistoryBuffer.__name__}", "builtins.getattr", "getattr"}
    return known + [(_Placeholder, name) for name in unknown if not name.startswith("numpy.") and name not in names]
