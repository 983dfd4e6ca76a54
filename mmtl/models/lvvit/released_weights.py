"""Released LV-ViT weights to mmtl's key names and back.

One table of key prefixes serves both directions. Only names change: a round trip gives back the same tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

# (released prefix, mmtl prefix); the first that matches counts, so longer prefixes stand before shorter ones.
CLASSIFIER_KEYS = (
    ("aux_head.", "head.token_fc."),
    ("head.", "head.fc."),
    ("cls_token", "backbone.cls_token"),
    ("pos_embed", "backbone.pos_embed"),
    ("patch_embed.", "backbone.patch_embed."),
    ("blocks.", "backbone.blocks."),
    ("norm.", "backbone.norm."),
)
SEGMENTOR_KEYS = (
    ("backbone.side_layer", "neck.side_layer"),
    ("backbone.cls_token", "backbone.cls_token"),
    ("backbone.pos_embed", "backbone.pos_embed"),
    ("backbone.patch_embed.", "backbone.patch_embed."),
    ("backbone.blocks.", "backbone.blocks."),
    ("backbone.norm.", "backbone.norm."),
    ("decode_head.", "decode_head."),
    ("auxiliary_head.", "auxiliary_head."),
)
# Where training scripts put the weights; the averaged ones first, as they are the ones that papers evaluate.
WRAPPERS = ("state_dict_ema", "state_dict", "model")

LINEAR = ("weight", "bias")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
STEM = tuple(f"conv{i}.weight" for i in (1, 2, 3)) + tuple(f"bn{i}.{n}" for i in (1, 2, 3) for n in BATCH_NORM)
ATTENTION = ("norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.proj.weight", "attn.proj.bias")
MLP = ("norm2.weight", "norm2.bias", *(f"mlp.{fc}.{n}" for fc in ("fc1", "fc2") for n in LINEAR))
BLOCK_KEYS = frozenset((*ATTENTION, *MLP, "attn.qkv.bias"))


def unwrap(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Take the weights out of a checkpoint's contents.

    Args:
        checkpoint: Weights by name, or a training checkpoint that holds them under ``state_dict_ema``,
            ``state_dict`` or ``model``; names with or without a leading ``module.``.

    Returns:
        The weights by name, without ``module.``.

    Raises:
        ValueError: If that is no dictionary of tensors.
    """
    for name in WRAPPERS:
        if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(name), Mapping):
            checkpoint = checkpoint[name]
            break
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise ValueError(
            f"no weights found in a {type(checkpoint).__name__}: wanted tensors by name, plain or under "
            f"one of {', '.join(WRAPPERS)}"
        )
    others = [
        str(key) for key, value in checkpoint.items() if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if others:
        raise ValueError(f"these entries are no tensors by name: {_listed(others)}; wanted weights by name")
    return {key.removeprefix("module."): value for key, value in checkpoint.items()}


def convert_released(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename the weights of a released LV-ViT checkpoint for the matching mmtl model.

    Args:
        state_dict: Contents of a released file (see ``unwrap``): a classifier, or a segmentor with or without
            side layers and decode heads.

    Returns:
        What ``TokenLabelClassifier`` or MMSegmentation's ``EncoderDecoder`` loads with ``strict=True``. A
        classifier released without a patch head gets one of zeros, which adds nothing to the prediction.

    Raises:
        ValueError: If keys are unknown or missing (all are listed), or a weight is not finite.
    """
    weights = unwrap(state_dict)
    if any(key.startswith("backbone.") for key in weights):
        _check_whole(weights, "backbone.")
        return _rename(weights, SEGMENTOR_KEYS)
    _check_whole(weights, "")
    weights = _rename(weights, CLASSIFIER_KEYS)
    for name in LINEAR:
        weights.setdefault(f"head.token_fc.{name}", torch.zeros_like(weights[f"head.fc.{name}"]))
    return weights


def convert_to_released(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename the weights of an mmtl model to the released names; the inverse of ``convert_released``.

    Args:
        state_dict: Weights of a ``TokenLabelClassifier``, or of an ``EncoderDecoder`` with an LVViT, also
            inside a training checkpoint. Weights of a backbone without any head count as a segmentor's.

    Returns:
        Weights by their released names.

    Raises:
        ValueError: If keys are unknown or missing (all are listed), or a weight is not finite.
    """
    weights = unwrap(state_dict)
    is_classifier = any(key.startswith("head.") for key in weights)
    table = CLASSIFIER_KEYS if is_classifier else SEGMENTOR_KEYS
    weights = _rename(weights, tuple((ours, released) for released, ours in table))
    _check_whole(weights, "" if is_classifier else "backbone.")
    patch_head = [f"aux_head.{name}" for name in LINEAR]
    if is_classifier and not any(weights[key].any() for key in patch_head if key in weights):
        weights = {key: value for key, value in weights.items() if key not in patch_head}
    return weights


def _rename(weights: Mapping[str, Tensor], table: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    renamed, unknown = {}, []
    for key, value in weights.items():
        old, new = next((row for row in table if key.startswith(row[0])), (None, None))
        if old is None:
            unknown.append(key)
        else:
            renamed[new + key.removeprefix(old)] = value
    if unknown:
        raise ValueError(f"unknown keys: {_listed(unknown)}; these are not the weights of an LV-ViT")
    return renamed


def _check_whole(weights: Mapping[str, Tensor], prefix: str) -> None:
    """Refuse names that do not make one whole LV-ViT, and weights that are not finite."""
    missing, unknown = _key_errors(weights, prefix)
    if missing or unknown:
        parts = [f"missing keys: {_listed(missing)}"] * bool(missing)
        parts += [f"unknown keys: {_listed(unknown)}"] * bool(unknown)
        ours = prefix and any(key.startswith(("head.", "neck.")) for key in unknown)
        verdict = "mmtl's names already, nothing to convert" if ours else "not the whole weights of one LV-ViT"
        raise ValueError(f"{'; '.join(parts)}; these are {verdict}")
    for key, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{key} holds NaN or infinite values: the checkpoint is damaged, get it again")


def _key_errors(weights: Mapping[str, Tensor], prefix: str) -> tuple[list[str], list[str]]:
    """Missing and unknown released keys; ``prefix`` is '' for a classifier, 'backbone.' for a segmentor."""
    body = {key.removeprefix(prefix) for key in weights if key.startswith(prefix)}
    wanted = {"cls_token", "pos_embed", *_under("patch_embed.proj.", LINEAR), *_block_keys(body)}
    if _has(body, "patch_embed.conv") or _has(body, "patch_embed.bn"):
        wanted |= _under("patch_embed.", STEM)
    if not prefix or _has(body, "norm."):
        wanted |= _under("norm.", LINEAR)
    if not prefix:
        wanted |= _under("head.", LINEAR)
        if _has(body, "aux_head."):
            wanted |= _under("aux_head.", LINEAR)
    wanted |= _side_layer_keys(body) if prefix else set()
    heads = {key for key in weights if key.startswith(("decode_head.", "auxiliary_head."))} if prefix else set()
    wanted = _under(prefix, wanted)
    return sorted(wanted - weights.keys()), sorted(weights.keys() - wanted - heads)


def _block_keys(body: set[str]) -> set[str]:
    """All keys of all blocks up to the highest number; a block has attention, an MLP, or both."""
    numbers = [int(match[1]) for key in body if (match := re.match(r"blocks\.(\d+)\.", key))]
    has_qkv_bias = any(key.endswith("attn.qkv.bias") for key in body)
    wanted: set[str] = set()
    for number in range(max(numbers, default=0) + 1):
        prefix = f"blocks.{number}."
        attention, mlp = (_has(body, *_under(prefix, names)) for names in (ATTENTION, MLP))
        if attention or not mlp:
            wanted |= _under(prefix, (*ATTENTION, *["attn.qkv.bias"] * has_qkv_bias))
        if mlp or not attention:
            wanted |= _under(prefix, MLP)
    return wanted


def _side_layer_keys(body: set[str]) -> set[str]:
    """All keys of the side layers that are there: of six steps (enlarge, project) or of three (project)."""
    wanted: set[str] = set()
    for level in (1, 2, 3, 4):
        prefix = f"side_layer{level}."
        if _has(body, prefix):
            convs = (0, 3) if _has(body, f"{prefix}3.", f"{prefix}4.") else (0,)
            wanted |= {f"{prefix}{i}.weight" for i in convs}
            wanted |= {f"{prefix}{i + 1}.{name}" for i in convs for name in BATCH_NORM}
    return wanted


def _under(prefix: str, names: Iterable[str]) -> set[str]:
    return {prefix + name for name in names}


def _has(keys: Iterable[str], *prefixes: str) -> bool:
    return any(key.startswith(prefixes) for key in keys)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
