"""Rename released LV-ViT and VOLO weights to mmtl's key names and back.

One table of key prefixes serves both directions. Only names change: a round trip returns the same tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mmtl.utils.checkpoint import unwrap_weights

# (released prefix, mmtl prefix); the first match counts, so longer prefixes precede shorter ones.
CLASSIFIER_KEYS = (
    ("aux_head.", "head.token_fc."),
    ("head.", "head.fc."),
    ("cls_token", "backbone.cls_token"),
    ("pos_embed", "backbone.pos_embed"),
    ("patch_embed.", "backbone.patch_embed."),
    ("blocks.", "backbone.blocks."),
    ("network.", "backbone.network."),  # VOLO's blocks
    ("post_network.", "backbone.post_network."),
    ("norm.", "backbone.norm."),
)
UNCHANGED = ("cls_token", "pos_embed", "patch_embed.", "blocks.", "norm.")
SEGMENTOR_KEYS = (
    ("backbone.side_layer", "neck.side_layer"),
    *((f"backbone.{key}", f"backbone.{key}") for key in UNCHANGED),
    ("decode_head.", "decode_head."),
    ("auxiliary_head.", "auxiliary_head."),
)

LINEAR = ("weight", "bias")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
STEM = tuple(f"conv{i}.weight" for i in (1, 2, 3)) + tuple(f"bn{i}.{n}" for i in (1, 2, 3) for n in BATCH_NORM)
ATTENTION = ("norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.proj.weight", "attn.proj.bias")
MLP = ("norm2.weight", "norm2.bias", *(f"mlp.{fc}.{n}" for fc in ("fc1", "fc2") for n in LINEAR))
# A side layer enlarges and projects (two convolutions), or only projects.
SIDE_LAYER = [(f"{i}.weight", *(f"{i + 1}.{name}" for name in BATCH_NORM)) for i in (0, 3)]


def convert_released(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename the weights of a released LV-ViT or VOLO checkpoint for the matching mmtl model.

    Args:
        state_dict: contents of a released file, wrapped in any way that :mod:`mmtl.utils.checkpoint` lists: a
            classifier, or a segmentor (LV-ViT) with or without side layers and decode heads. timm's VOLO has the same
            names.

    Returns:
        What ``TokenLabelClassifier`` or MMSegmentation's ``EncoderDecoder`` loads with ``strict=True``. A
        classifier released without a patch head gets one of zeros, which adds nothing to the prediction.
        Unexpected and missing keys are an error that lists them all, and so is a weight that is not finite.
    """
    weights = unwrap_weights(state_dict)
    is_segmentor = any(key.startswith("backbone.") for key in weights)
    _check_complete(weights, "backbone." if is_segmentor else "")
    if is_segmentor:
        return _rename(weights, SEGMENTOR_KEYS)
    weights = _rename(weights, CLASSIFIER_KEYS)
    for name in LINEAR:
        weights.setdefault(f"head.token_fc.{name}", torch.zeros_like(weights[f"head.fc.{name}"]))
    return weights


def convert_to_released(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename the weights of an mmtl model to the released names; the inverse of ``convert_released``, same errors.

    Args:
        state_dict: weights of a ``TokenLabelClassifier``, or of an ``EncoderDecoder`` with an LVViT, wrapped in any
            way that :mod:`mmtl.utils.checkpoint` lists. A backbone without any head is converted as a segmentor.
    """
    weights = unwrap_weights(state_dict)
    is_classifier = any(key.startswith("head.") for key in weights)
    table = CLASSIFIER_KEYS if is_classifier else SEGMENTOR_KEYS
    weights = _rename(weights, tuple((ours, released) for released, ours in table))
    _check_complete(weights, "" if is_classifier else "backbone.")
    patch_head = [f"aux_head.{name}" for name in LINEAR]
    is_volo = any(key.startswith("network.") for key in weights)  # which always has a patch head
    if is_classifier and not is_volo and not any(weights[key].any() for key in patch_head if key in weights):
        weights = {key: value for key, value in weights.items() if key not in patch_head}
    return weights


def _rename(weights: Mapping[str, Tensor], table: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    renamed, unexpected = {}, []
    for key, value in weights.items():
        old, new = next((row for row in table if key.startswith(row[0])), (None, None))
        if old is None:
            unexpected.append(key)
        else:
            renamed[new + key.removeprefix(old)] = value
    if unexpected and all(key.startswith("neck.") for key in unexpected):
        raise ValueError(
            f"The released format has no names for this neck: unexpected keys: {', '.join(unexpected)}. Only the "
            "weights of mmtl.SideLayers have some; use the checkpoint of another neck as it is."
        )
    if unexpected:
        raise ValueError(f"These are not the weights of an LV-ViT or VOLO: unexpected keys: {', '.join(unexpected)}.")
    return renamed


def _check_complete(weights: Mapping[str, Tensor], prefix: str) -> None:
    """Raise an error unless the names are those of one complete LV-ViT."""
    expected, heads = _expected_keys(weights, prefix), ("decode_head.", "auxiliary_head.") if prefix else ()
    missing = sorted(expected - weights.keys())
    unexpected = sorted(key for key in weights.keys() - expected if not key.startswith(heads))
    if missing or unexpected:
        keys = {"missing": missing, "unexpected": unexpected}
        listed = "; ".join(f"{kind} keys: {', '.join(names)}" for kind, names in keys.items() if names)
        is_ours = prefix and any(key.startswith(("head.", "neck.")) for key in unexpected)
        verdict = (
            "already mmtl's names, nothing to convert" if is_ours else "not the complete weights of one LV-ViT or VOLO"
        )
        raise ValueError(f"These are {verdict}: {listed}.")


def _expected_keys(weights: Iterable[str], prefix: str) -> set[str]:
    """Return the released names of all weights; ``prefix`` is '' for a classifier, 'backbone.' for a segmentor."""
    body = {key.removeprefix(prefix) for key in weights if key.startswith(prefix)}
    if any(key.startswith("network.") for key in body):
        return _under(prefix, _volo_keys(body))
    expected = {"cls_token", "pos_embed", *_under("patch_embed.proj.", LINEAR), *_block_keys(body)}
    optional = [("patch_embed.", STEM), ("norm." if prefix else "aux_head.", LINEAR)]
    if prefix:
        optional += [(f"side_layer{level}.", step) for level in (1, 2, 3, 4) for step in SIDE_LAYER]
    else:
        expected |= _under("head.", LINEAR) | _under("norm.", LINEAR)
    for part in (_under(*row) for row in optional):
        if part & body:
            expected |= part
    return _under(prefix, expected)


def _block_keys(body: set[str]) -> set[str]:
    """Return all keys of all blocks up to the highest number; a block has attention, an MLP, or both."""
    numbers = [int(match[1]) for key in body if (match := re.match(r"blocks\.(\d+)\.", key))]
    has_qkv_bias = any(key.endswith("attn.qkv.bias") for key in body)
    expected: set[str] = set()
    for number in range(max(numbers, default=0) + 1):
        prefix = f"blocks.{number}."
        attention, mlp = (_under(prefix, names) & body for names in (ATTENTION, MLP))
        if attention or not mlp:
            expected |= _under(prefix, (*ATTENTION, *["attn.qkv.bias"] * has_qkv_bias))
        if mlp or not attention:
            expected |= _under(prefix, MLP)
    return expected


def _volo_keys(body: set[str]) -> set[str]:
    """Return all keys of a VOLO: all blocks of a group, up to the highest number, have the same parts."""
    stem = [f"conv.{i}.weight" for i in (0, 3, 6)] + [f"conv.{i}.{name}" for i in (1, 4, 7) for name in BATCH_NORM]
    expected = {"cls_token", "pos_embed", *_under("patch_embed.", stem)}
    for part in ("patch_embed.proj.", "network.1.proj.", "norm.", "head.", "aux_head."):
        expected |= _under(part, LINEAR)
    groups: dict[str, list[tuple[int, str]]] = {}
    for key in body:
        if match := re.match(r"(network\.\d+\.|post_network\.)(\d+)\.(.+)", key):
            groups.setdefault(match[1], []).append((int(match[2]), match[3]))
    for prefix, found in groups.items():
        last, names = max(number for number, _ in found), {name for _, name in found}
        expected |= {f"{prefix}{number}.{name}" for number in range(last + 1) for name in names}
    return expected


def _under(prefix: str, names: Iterable[str]) -> set[str]:
    return {prefix + name for name in names}
