"""Pictures of what the class token looks at and what the patch tokens say, while a model learns."""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.dataset import pseudo_collate
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmtl.models import TokenLabelHead
from mmtl.registry import HOOKS
from mmtl.score_maps import ScoreMap
from mmtl.utils.model_parts import head_of, unwrap_model
from mmtl.visualization.score_maps import draw_cells, draw_legend

PANEL_INCHES, LEGEND_INCHES = 2.2, 2.6
GOLDEN_RATIO = 0.618034  # steps of it around the colour circle stay apart, however many there are


class Seen(NamedTuple):
    """What a model makes of one image.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        title: True class and predicted class.
        attention: float [h, w], share of the class token's attention; None without attention or class token.
        score_map: The best classes of every patch token.
    """

    image: np.ndarray
    title: str
    attention: np.ndarray | None
    score_map: ScoreMap


@HOOKS.register_module()
class TokenLabelVisualizationHook(Hook):
    """Draws a fixed set of validation images, with attention and token classes over them, every few epochs.

    The class token's attention in the last block is a heat map; the first class of every patch token is a colour, the
    stronger the surer. A class keeps its colour from image to image and from epoch to epoch. The picture goes to the
    visualizer: ``vis_data/vis_image/token_labels_EPOCH.png`` of the run with the local backend. Models without a
    trained patch classifier are not drawn.

    Args:
        interval: Epochs between pictures; they come with the validation of those epochs, and with the last one.
        num_images: How many, taken evenly from the validation set.
    """

    priority = "HIGH"  # before EMAHook takes its averaged weights away again

    def __init__(self, interval: int = 10, num_images: int = 8) -> None:
        self.interval, self.num_images = interval, num_images

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Draws when it is time."""
        model, head = unwrap_model(runner.model), head_of(runner.model)
        if not isinstance(head, TokenLabelHead) or not head.beta:
            return
        if runner.epoch % self.interval and runner.epoch != runner.max_epochs:
            return
        dataset = runner.val_loop.dataloader.dataset
        chosen = np.linspace(0, len(dataset) - 1, min(self.num_images, len(dataset))).round().astype(int)
        seen = look(model, [dataset[int(index)] for index in chosen], dataset.metainfo.get("classes"))
        picture = draw(seen, head.num_classes, dataset.metainfo.get("classes"))
        runner.visualizer.add_image("token_labels", picture, runner.epoch or runner.iter)


@torch.no_grad()
def look(model: nn.Module, samples: Sequence[dict], names: Sequence[str] | None) -> list[Seen]:
    """Run a classifier with a :class:`TokenLabelHead`, in evaluation mode, on packed validation samples."""
    data = pseudo_collate(samples)
    inputs = model.data_preprocessor(data, training=False)["inputs"]
    attention = last_attention(model.backbone)
    entered: list[Tensor] = []
    handle = attention and attention.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    try:
        feats = model.extract_feat(inputs)
    finally:
        if handle:
            handle.remove()
    grid_hw = token_grid(feats[-1], tuple(inputs.shape[-2:]), model.data_preprocessor.token_stride)
    logits = model.head.token_fc(model.head.pre_logits(feats)[1]).float().unflatten(1, grid_hw)  # [B, h, w, K]
    score_maps = score_maps_of(logits)
    shares = [None] * len(inputs)
    if feats[-1].ndim == 3 and entered:
        shares = class_attention(attention, entered[-1]).float().unflatten(1, grid_hw).cpu().numpy()
    images = torch.stack(data["inputs"])
    images = (images.flip(1) if model.data_preprocessor.to_rgb else images).permute(0, 2, 3, 1).numpy()
    labels = model.head(feats).argmax(-1).tolist()
    titles = [
        f"{name_of(s.gt_label.item(), names)}\nseen as {name_of(p, names)}"
        for s, p in zip(data["data_samples"], labels, strict=True)
    ]
    return [Seen(*row) for row in zip(images, titles, shares, score_maps, strict=True)]


def last_attention(backbone: nn.Module) -> nn.Module | None:
    """The last attention layer with query, key and value in one layer, as in LVViT and mmpretrain's transformers."""
    found = [module for module in backbone.modules() if hasattr(module, "qkv") and hasattr(module, "num_heads")]
    return found[-1] if found else None


def class_attention(attention: nn.Module, tokens: Tensor) -> Tensor:
    """Share of the first token's attention that each other token gets, mean of the heads.

    Args:
        attention: layer with ``qkv`` and ``num_heads``.
        tokens: [B, 1 + N, C] that enter it.

    Returns:
        Tensor: [B, N]; sums to what the first token leaves of its attention to itself.
    """
    query, key, _ = (
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)  # [B, heads, 1 + N, head_dims]
        for part in attention.qkv(tokens).chunk(3, dim=-1)
    )
    weights = (query[:, :, :1] @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)  # [B, heads, 1, 1 + N]
    return weights[:, :, 0, 1:].mean(1)


def token_grid(feature: Tensor, image_hw: tuple[int, int], stride: int | None) -> tuple[int, int]:
    """Token grid (h, w) of a feature map, or of the tokens of an image."""
    return tuple(feature.shape[-2:]) if feature.ndim == 4 else (image_hw[0] // stride, image_hw[1] // stride)


def score_maps_of(logits: Tensor) -> list[ScoreMap]:
    """The best classes of [B, h, w, K] as an annotator would give them."""
    scores, classes = logits.topk(min(5, logits.shape[-1]))
    arrays = (scores, classes.int(), logits.logsumexp(-1))
    return [ScoreMap(*(array.cpu().numpy() for array in row)) for row in zip(*arrays, strict=True)]


def name_of(label: int, names: Sequence[str] | None) -> str:
    """A class's index and the start of its name."""
    return f"{label} {str(names[label])[:24]}" if names and label < len(names) else f"class {label}"


def draw(seen: Sequence[Seen], num_classes: int, names: Sequence[str] | None) -> np.ndarray:
    """Image, attention, token classes and legend of each image in a row.

    Returns:
        np.ndarray: uint8 [H, W, 3], RGB.
    """
    height, width = PANEL_INCHES * 1.22 * len(seen), 3 * PANEL_INCHES + LEGEND_INCHES
    figure = Figure((width, height), dpi=100)
    panels = figure.subplots(
        len(seen), 4, squeeze=False, gridspec_kw=dict(width_ratios=[1, 1, 1, LEGEND_INCHES / PANEL_INCHES])
    )
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.4 / height, 0.04, 0.25)
    for (left, middle, right, key), (image, title, attention, score_map) in zip(panels, seen, strict=True):
        for axes in (left, middle, right, key):
            axes.set_axis_off()
        left.imshow(image)
        left.set_title(title, fontsize=8)
        middle.imshow(image.mean(-1), cmap="gray", vmin=0, vmax=255)
        if attention is not None:
            extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
            middle.imshow(attention, cmap="inferno", alpha=0.65, extent=extent, vmin=0)
            middle.set_title(f"class token's attention\nup to {100 * attention.max():.1f} % a token", fontsize=8)
        colours = {int(label): colour_of(int(label)) for label in np.unique(score_map.classes[..., 0])}
        grey = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1).astype(np.uint8)
        draw_cells(right, score_map, num_classes, colours, grey, numbers=False)
        right.set_title("first class of each token,\nthe stronger the surer", fontsize=8)
        draw_legend(key, score_map, colours, names)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def colour_of(label: int) -> tuple[float, float, float]:
    """RGB of a class."""
    return colorsys.hsv_to_rgb(GOLDEN_RATIO * label % 1, 0.95 if label % 2 else 0.7, 1.0)
