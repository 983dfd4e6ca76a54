"""Draw what the training pipeline of a config really gives the network, with the label of every token.

    python tools/browse_samples.py CONFIG -n 16 -o samples.png
    mim run mmtl browse_samples CONFIG --cfg-options train_dataloader.dataset.data_root=/data/imagenet

Each sample stands twice: the image after augmentation with the token grid on it, and the same image in grey with
every token in the colour of its most likely class, the stronger the more likely that class is. Below are the
classes that hold most of the tokens and the mean probability there. Tokens that the loss leaves out are black,
tokens whose label is uniform (outside the image) have no colour.
"""

from __future__ import annotations

import argparse
import colorsys
import math
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.config import DictAction
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from mmpretrain.structures import DataSample

from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.config_file import read_config

PANEL = 2.2  # inches
LEGEND_CLASSES = 3
GOLDEN_RATIO = 0.618034  # steps of it around the colour circle stay apart, however many there are

Colour = tuple[float, float, float]


class Sample(NamedTuple):
    """One sample as the network gets it.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        data: Label, path and, with a score map, its fields.
        grid_hw: Token grid (h, w); None when the sample has no token labels.
        top_class: [h, w], most likely class of each token, -1 where all are equally likely.
        probability: [h, w], its probability.
        counts: bool [h, w], whether the token counts in the loss.
    """

    image: np.ndarray
    data: DataSample
    grid_hw: tuple[int, int] | None = None
    top_class: np.ndarray | None = None
    probability: np.ndarray | None = None
    counts: np.ndarray | None = None


def main(arguments: list[str] | None = None) -> None:
    """Draw one picture; a user's mistake ends with one message and exit code 1."""
    args = parse_args(arguments)
    try:
        count = browse(args.config, args.out, args.num_samples, args.seed, args.cfg_options)
    except (OSError, ValueError, AssertionError) as error:  # mmcv asserts that an image could be decoded
        sys.exit(f"browse_samples: {error}")
    print(f"{args.out}: {count} samples")


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a pretraining config")
    parser.add_argument("-n", "--num-samples", type=int, default=16, help="how many samples (default: 16)")
    parser.add_argument("-o", "--out", type=Path, default=Path("samples.png"), help="picture to write")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images and their augmentation")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="config changes, key=value")
    return parser.parse_args(arguments)


def browse(config: Path, out: Path, count: int, seed: int = 0, cfg_options: dict | None = None) -> int:
    """Draw ``count`` samples of the training set of ``config`` into ``out``, which appears only when it is whole.

    Returns:
        Number of samples drawn, fewer than ``count`` for a smaller data set.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The config has no training set or no token labels, or ``count`` or ``out`` make no sense.
    """
    if count < 1:
        raise ValueError(f"{count} samples are asked for; ask for at least 1 (-n)")
    if out.suffix.lower() not in (".png", ".jpg", ".pdf", ".svg"):
        raise ValueError(f"{out} is no picture's name; end it in .png, .jpg, .pdf or .svg (-o)")
    cfg = read_config(config)
    cfg.merge_from_dict(cfg_options or {})
    if "train_dataloader" not in cfg or "model" not in cfg:
        raise ValueError(f"{config} has no train_dataloader or no model; give a pretraining config")
    init_default_scope(cfg.get("default_scope", "mmpretrain"))
    preprocessor = MODELS.build(cfg.model).data_preprocessor
    if not hasattr(preprocessor, "build_targets"):
        raise ValueError(
            f"{config} trains without token labels: its data preprocessor is a {type(preprocessor).__name__}"
        )
    for seed_of in (random.seed, np.random.seed, torch.manual_seed):
        seed_of(seed)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    chosen = np.random.permutation(len(dataset))[:count]
    samples = label_tokens(preprocessor, [dataset[int(index)] for index in chosen])
    save(draw(samples, dataset.metainfo.get("classes")), out)
    return len(samples)


def label_tokens(preprocessor: torch.nn.Module, packed: Sequence[dict]) -> list[Sample]:
    """Read the targets of packed samples as training does."""
    batch = pseudo_collate(packed)
    images, data_samples = torch.stack(batch["inputs"]), batch["data_samples"]
    targets = preprocessor.build_targets(data_samples, tuple(images.shape[-2:])).patch_tokens
    rgb = images.flip(1) if preprocessor.to_rgb else images
    rgb = rgb.permute(0, 2, 3, 1).numpy()
    samples = [Sample(image, data) for image, data in zip(rgb, data_samples, strict=True)]
    if targets is None:
        return samples
    probability, top_class = targets.dense().max(dim=-1)
    top_class[probability < 1.02 / targets.num_classes] = -1  # outside the image
    grids = [t.unflatten(1, targets.grid_hw).numpy() for t in (top_class, probability, targets.row_weights > 0)]
    return [
        Sample(*sample[:2], targets.grid_hw, *(grid[i] for grid in grids)) if "view_affine" in sample.data else sample
        for i, sample in enumerate(samples)
    ]


def class_colours(samples: Sequence[Sample]) -> dict[int, Colour]:
    """RGB of every class that a token of the picture has, the commonest classes furthest apart in hue."""
    labels = np.concatenate([np.zeros(0, int)] + [sample.top_class.ravel() for sample in samples if sample.grid_hw])
    classes, tokens = np.unique(labels[labels >= 0], return_counts=True)
    ranked = classes[np.argsort(-tokens, kind="stable")]
    return {int(label): colorsys.hsv_to_rgb(GOLDEN_RATIO * rank % 1, 1.0, 1.0) for rank, label in enumerate(ranked)}


def colour_tokens(sample: Sample, colours: Mapping[int, Colour]) -> np.ndarray:
    """The token labels as float RGBA [h, w, 4]: hue tells the class, opacity its probability."""
    overlay = np.zeros((*sample.grid_hw, 4))
    for label, colour in colours.items():
        overlay[sample.top_class == label, :3] = colour
    overlay[..., 3] = 0.9 * sample.probability * (sample.top_class >= 0)
    overlay[~sample.counts] = (0, 0, 0, 1)
    return overlay


def draw(samples: Sequence[Sample], class_names: Sequence[str] | None) -> Figure:
    """Put the samples into one figure, about as wide as high."""
    columns = max(1, round(math.sqrt(len(samples) / 2) + 0.2))
    rows = math.ceil(len(samples) / columns)
    figure = Figure(figsize=(2 * PANEL * columns, 1.3 * PANEL * rows), dpi=110, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)
    axes = figure.subplots(rows, 2 * columns, squeeze=False).reshape(-1, 2)
    for axis in axes.flat:
        axis.axis("off")
    colours = class_colours(samples)
    for (left, right), sample in zip(axes, samples, strict=False):
        draw_image(left, sample, class_names)
        draw_labels(right, sample, colours, class_names)
    return figure


def draw_image(axis: Axes, sample: Sample, class_names: Sequence[str] | None) -> None:
    """The image as the network gets it, the token grid on it, the class label above."""
    axis.imshow(sample.image, interpolation="nearest")
    label = sample.data.gt_label.tolist()[0] if "gt_label" in sample.data else None
    path = sample.data.get("img_path")
    title = "no label" if label is None else name_of(label, class_names)
    axis.set_title(f"{title}\n{Path(path).name if path else ''}", fontsize=6)
    height, width = sample.image.shape[:2]
    if sample.grid_hw is not None:
        lines = dict(colors="white", linewidths=0.4, alpha=0.6)
        axis.hlines(np.linspace(0, height, sample.grid_hw[0] + 1) - 0.5, -0.5, width - 0.5, **lines)
        axis.vlines(np.linspace(0, width, sample.grid_hw[1] + 1) - 0.5, -0.5, height - 0.5, **lines)


def draw_labels(axis: Axes, sample: Sample, colours: Mapping[int, Colour], class_names: Sequence[str] | None) -> None:
    """The image in grey under its tokens' labels, the leading classes below."""
    height, width = sample.image.shape[:2]
    axis.imshow(sample.image.mean(axis=-1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if sample.grid_hw is None:
        axis.set_title("no score map: class label only", fontsize=6)
        return
    extent = -0.5, width - 0.5, height - 0.5, -0.5
    axis.imshow(colour_tokens(sample, colours), extent=extent, interpolation="nearest")
    shown = sample.counts & (sample.top_class >= 0)
    labels, tokens = np.unique(sample.top_class[shown], return_counts=True)
    for line, index in enumerate(np.argsort(-tokens)[:LEGEND_CLASSES]):
        label = int(labels[index])
        mean = sample.probability[shown & (sample.top_class == label)].mean()
        text = f"{name_of(label, class_names)}: {tokens[index]} tokens, p {mean:.2f}"
        y = -0.03 - 0.08 * line
        axis.text(0, y, "■", transform=axis.transAxes, va="top", fontsize=7, color=colours[label])
        axis.text(0.06, y, text, transform=axis.transAxes, va="top", fontsize=6)


def name_of(label: int, class_names: Sequence[str] | None) -> str:
    """A class's index and the start of its name."""
    return f"{label} {class_names[label][:24]}" if class_names and label < len(class_names) else f"class {label}"


def save(figure: Figure, path: Path) -> None:
    """Write a picture in the format that its suffix names."""
    with atomic_file(path) as part:
        figure.savefig(part, format=path.suffix[1:].lower(), bbox_inches="tight")


if __name__ == "__main__":
    main()
