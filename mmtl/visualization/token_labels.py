"""Figure of a classifier's class attention and patch token predictions on images."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.dataset import pseudo_collate
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmtl.visualization.colors import class_name, figure_colors
from mmtl.visualization.figures import POINTS, add_class_legend, color_cells, draw_over, render
from mmtl.visualization.rgb import rgb_of

PANEL_INCHES, LEGEND_INCHES = 2.6, 3.2


class TokenPrediction(NamedTuple):
    """A model's prediction on one image."""

    image: np.ndarray  # uint8 [H, W, 3], RGB
    title: str  # true class and predicted class
    attention: np.ndarray | None  # [h, w], share of the class token's; None without attention or class token
    top_class: np.ndarray  # [h, w], most likely class of every patch token
    probability: np.ndarray  # [h, w], of that class


@torch.no_grad()
def predict_tokens(model: nn.Module, samples: Sequence[dict], names: Sequence[str] | None) -> list[TokenPrediction]:
    """Run a classifier with a :class:`TokenLabelHead`, in evaluation mode, on packed validation samples."""
    if len({sample["inputs"].shape for sample in samples}) > 1:  # images that do not fit in one batch
        return [prediction for sample in samples for prediction in predict_tokens(model, [sample], names)]
    data = pseudo_collate(samples)
    preprocessor = model.data_preprocessor
    inputs = preprocessor(data, training=False)["inputs"]
    attention = last_attention(model.backbone)
    attention_inputs: list[Tensor] = []
    handle = attention and attention.register_forward_pre_hook(lambda _, args: attention_inputs.append(args[0]))
    try:
        feats = model.extract_feat(inputs)
    finally:
        if handle:
            handle.remove()
    grid_hw = token_grid(feats[-1], tuple(inputs.shape[-2:]), preprocessor.token_stride)
    logits = model.head.token_fc(model.head.pre_logits(feats)[1]).float().unflatten(1, grid_hw)  # [B, h, w, K]
    shares = [None] * len(inputs)
    # Attention in windows, or without a class token, has other tokens.
    if attention_inputs and attention_inputs[-1].shape[:2] == (len(inputs), 1 + math.prod(grid_hw)):
        shares = class_attention(attention, attention_inputs[-1]).float().unflatten(1, grid_hw).cpu().numpy()
    images = [rgb_of(image.permute(1, 2, 0).numpy(), preprocessor.to_rgb) for image in data["inputs"]]
    titles = [
        f"{class_names_of(sample, names)}\npredicted {class_name(label, names)}"
        for sample, label in zip(data["data_samples"], model.head(feats).argmax(-1).tolist(), strict=True)
    ]
    probability, top_class = (values.cpu().numpy() for values in logits.softmax(-1).max(-1))
    rows = zip(images, titles, shares, top_class, probability, strict=True)
    return [TokenPrediction(*row) for row in rows]


def class_names_of(sample: DataSample, names: Sequence[str] | None) -> str:
    """Return the names of an image's labels, which a validation set may have one, several or none of."""
    labels = sample.get("gt_label")
    return ", ".join(class_name(label, names) for label in ([] if labels is None else labels.tolist())) or "no label"


def last_attention(backbone: nn.Module) -> nn.Module | None:
    """Return the last attention layer with query, key and value in one layer, as in LVViT and mmpretrain's models."""
    found = [module for module in backbone.modules() if hasattr(module, "qkv") and hasattr(module, "num_heads")]
    return found[-1] if found else None


def class_attention(attention: nn.Module, tokens: Tensor) -> Tensor:
    """Return the share of the first token's attention that each other token gets, mean of the heads.

    Args:
        attention: layer with ``qkv`` and ``num_heads``.
        tokens: input of the layer, [B, 1 + N, C].

    Returns:
        Tensor: [B, N]; sums to one minus the first token's attention to itself.
    """
    query, key, _ = (
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)  # [B, heads, 1 + N, head_dims]
        for part in attention.qkv(tokens).chunk(3, dim=-1)
    )
    weights = (query[:, :, :1] @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)  # [B, heads, 1, 1 + N]
    return weights[:, :, 0, 1:].mean(1)


def token_grid(feature: Tensor, image_hw: tuple[int, int], stride: int | None) -> tuple[int, int]:
    """Return the token grid (h, w) of a feature map, or of the tokens of an image."""
    return tuple(feature.shape[-2:]) if feature.ndim == 4 else (image_hw[0] // stride, image_hw[1] // stride)


def draw_predictions(predictions: Sequence[TokenPrediction], names: Sequence[str] | None) -> np.ndarray:
    """Draw image, attention, token classes and legend of each prediction in a row; uint8 [H, W, 3], RGB.

    A class has the same color in all rows, and if there are few classes, in the figures of all epochs.
    """
    height, width = PANEL_INCHES * 1.25 * len(predictions), 3 * PANEL_INCHES + LEGEND_INCHES
    figure = Figure((width, height), dpi=100)
    ratios = [1, 1, 1, LEGEND_INCHES / PANEL_INCHES]
    panels = figure.subplots(len(predictions), 4, squeeze=False, width_ratios=ratios)
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.45 / height, 0.04, 0.3)
    for axes in panels.flat:
        axes.set_axis_off()
    labels = np.concatenate([prediction.top_class.ravel() for prediction in predictions])
    colors = figure_colors(labels, len(names or range(labels.max() + 1)))
    for (left, middle, right, key), prediction in zip(panels, predictions, strict=True):
        image, title, attention, top_class, probability = prediction
        left.imshow(image)
        left.set_title(title, fontsize=POINTS)
        gray = image.mean(axis=-1)
        if attention is not None:
            draw_over(middle, gray, attention, cmap="inferno", alpha=0.65, vmin=0)
            middle.set_title(
                f"attention of the class token\nup to {100 * attention.max():.1f} % a token", fontsize=POINTS
            )
        draw_over(right, gray, color_cells(top_class, probability, colors))
        right.set_title("top-1 class of each token,\nopacity: its probability", fontsize=POINTS)
        add_class_legend(key, top_class, probability, colors, names, loc="center left")
    return render(figure)
