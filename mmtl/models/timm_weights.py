"""Fit the weights of a checkpoint to a timm model."""

import sys
from collections.abc import MutableMapping

from mmengine.logging import print_log
from torch import Tensor, nn

from mmtl.utils.checkpoint import check_finite
from mmtl.utils.text import shorten

OWN = "timm_model."  # of the names in checkpoints of TimmBackbone, as of mmpretrain's TIMMBackbone


def fit_timm_weights(model: nn.Module, state_dict: MutableMapping[str, Tensor], prefix: str, name: str) -> None:
    """Rename and resize the weights of a state dict for a timm model inside a backbone; log what it provides.

    Weights with timm's own names, without ``timm_model.``, get this prefix. Weights of another image size (position
    embeddings, relative position biases) are resized by timm. The classifier is removed.

    Args:
        model: timm model without classifier.
        state_dict: changed in place.
        prefix: of the backbone's names in it.
        name: timm's name of the model, for messages.

    Raises:
        ValueError: Nothing is found, or the weights are those of another model.
    """
    check_finite(state_dict, prefix)
    given = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    if not given:
        return
    own = any(key.startswith(OWN) for key in given)
    weights = {key.removeprefix(OWN): value for key, value in given.items() if key.startswith(OWN) or not own}
    expected = model.state_dict()
    weights = _resized(model, weights, expected)
    found = [key for key in expected if key in weights]
    if not found:
        raise ValueError(
            f"Nothing to load: the checkpoint has {shorten(given, 3)}, but no weight of {name} such as "
            f"{next(iter(expected))}. Build the model that the checkpoint was trained with."
        )
    shapes = {key: (tuple(weights[key].shape), tuple(expected[key].shape)) for key in found}
    if wrong := [f"{key} {has}, expected {needs}" for key, (has, needs) in shapes.items() if has != needs]:
        raise ValueError(
            f"The checkpoint does not fit {name}: {shorten(wrong, 3)}. Build the model that the checkpoint was "
            "trained with (model_name, in_channels, patch size) or use another checkpoint."
        )
    parameters = [key for key, _ in model.named_parameters()]
    if missing := [key for key in parameters if key not in weights]:
        raise ValueError(
            f"The checkpoint lacks {shorten(missing, 3)} of {name}. Build the model that the checkpoint was trained "
            "with (model_name, depth, global_pool) or use another checkpoint."
        )
    unexpected = [key for key in weights if key not in expected]
    for key in given:
        del state_dict[prefix + key]
    state_dict.update({f"{prefix}{OWN}{key}": weights[key] for key in found})
    unused = "".join(f"; not used: {key} {tuple(weights[key].shape)}" for key in unexpected[:4])
    print_log(f"{name}: {len(found)} of {len(expected)} weights loaded{unused}", logger="current")


def _resized(model: nn.Module, weights: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of another image size resized by the function with which timm loads weights of its own."""
    resize = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    differ = any(key in weights and weights[key].shape != value.shape for key, value in expected.items())
    if resize is None or not differ:
        return weights
    try:
        return {key: value for key, value in resize(dict(weights), model).items() if isinstance(value, Tensor)}
    except (RuntimeError, ValueError, AssertionError, KeyError, IndexError):  # another model: its shapes are reported
        return weights
