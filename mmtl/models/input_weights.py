"""Fit the first layer of a checkpoint of RGB images to images of other channels."""

from mmengine.logging import print_log
from torch import Tensor

RULES = ("mean", "first")


def check_input_options(in_channels: int, input_weights: str) -> None:
    """Check the options of a backbone that :func:`fit_input_weights` uses."""
    if type(in_channels) is not int or in_channels < 1:
        raise ValueError(f"in_channels must be an integer of at least 1, got {in_channels!r}.")
    if input_weights not in RULES:
        raise ValueError(f"input_weights must be one of {', '.join(map(repr, RULES))}, got {input_weights!r}.")


def adapt_input_weight(weight: Tensor, in_channels: int, rule: str) -> Tensor:
    """Return the weight of a convolution for another number of input channels.

    Args:
        weight: [O, 3, k, k], of RGB images.
        in_channels: C.
        rule: 'mean' gives every channel the mean of the three times 3 / C, so that the response to a gray image, the
            same in all channels, is kept. 'first' keeps the weights of the first channels, red first, and further
            channels get zero, so that they begin without influence.

    Returns:
        Tensor: [O, C, k, k].
    """
    if rule == "mean":
        return weight.sum(1, keepdim=True).div(in_channels).repeat(1, in_channels, 1, 1)
    adapted = weight.new_zeros(weight.shape[0], in_channels, *weight.shape[2:])
    kept = min(in_channels, weight.shape[1])
    adapted[:, :kept] = weight[:, :kept]
    return adapted


def fit_input_weights(state_dict: dict, name: str, in_channels: int, rule: str) -> None:
    """Adapt the weight ``name`` of a checkpoint in place if it is of RGB images and the model is not, and log it."""
    weight = state_dict.get(name)
    if weight is not None and weight.ndim == 4 and weight.shape[1] == 3 != in_channels:
        print_log(f"Adapt {name} from 3 to {in_channels} channels: input_weights={rule!r}", logger="current")
        state_dict[name] = adapt_input_weight(weight, in_channels, rule)
