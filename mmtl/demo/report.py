"""The demo's report: one self-contained HTML file from the output of its runs."""

import base64
import io
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS

from mmtl.demo.figures import draw_curves, draw_panels
from mmtl.demo.results import read_steps, results
from mmtl.demo.steps import WORK
from mmtl.score_maps import ScoreMap, ScoreMapStore
from mmtl.score_maps.stats import cell_probabilities
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.read_image import read_image
from mmtl.visualization.label_images import blend_colors, lay_over, mix_patches

PACKAGES = ("mmtl", "torch", "onedl-mmengine", "onedl-mmcv", "onedl-mmpretrain", "onedl-mmsegmentation")
TEMPLATE = Path(__file__).with_name("report.html")


def write_report(work: Path = WORK) -> Path:
    """Write ``report.html`` into the demo's work directory and return its path.

    Raises:
        FileNotFoundError: A step's output is missing.
    """
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE.read_text(encoding="utf-8"))
    html, path = page.render(report_values(work)), work / "report.html"
    with atomic_file(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def report_values(work: Path) -> dict[str, Any]:
    """Return the values that the template shows."""
    rows = results(work)
    segmentation = run_config(work / "segmentation_token_labels")
    metainfo = segmentation.val_dataloader.dataset.metainfo
    data = Path(segmentation.val_dataloader.dataset.data_root).parent
    names, palette = list(metainfo.classes), np.array(metainfo.palette, np.uint8)
    num_val = len(list((data / "classification/val").rglob("*.png")))
    accuracy = rows[2][2] / 100
    store = ScoreMapStore(work / "score_maps")
    measured = spread(sorted(store), min(400, len(store)))
    masks = [read_mask(data / "segmentation/annotations/training" / Path(key).name) for key in measured]
    return dict(
        results=rows,
        num_val=num_val,
        standard_error=100 * (accuracy * (1 - accuracy) / num_val) ** 0.5,
        grid_hw=store.grid_hw,
        agreement=cell_agreement(store, measured, masks),
        num_measured=len(measured),
        curves=embed(draw_curves(work)),
        score_maps=embed(draw_score_maps(store, data / "classification/train", names[1:], palette[1:])),
        mixed=embed(draw_mixed_images(work, names[1:], palette[1:])),
        segmentation=embed(draw_segmentation(work, data / "segmentation", names, palette)),
        steps=read_steps(work).values(),
        date=time.strftime("%Y-%m-%d"),
        machine=f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}",
        versions=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        seed=segmentation.randomness.seed,
    )


def embed(figure: Figure) -> str:
    """Return a figure as the data URL of a PNG image."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=160)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def run_config(run: Path) -> Config:
    """Return the config that mmengine dumped into a run's work directory."""
    dumped = sorted(run.glob("*.py"))
    if not dumped:
        raise FileNotFoundError(f"{run} has no config of a training run. Run the demo first.")
    return Config.fromfile(dumped[0])


def read_mask(path: Path) -> np.ndarray:
    """Read class indices [H, W]."""
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def spread(items: list, count: int) -> list:
    """Return ``count`` items spread over a list; the stride varies the classes, which repeat every few items."""
    return [items[(index * len(items) // count + index) % len(items)] for index in range(count)]


def dense_probabilities(score_map: ScoreMap, num_classes: int) -> np.ndarray:
    """Return the probabilities [h, w, K] of a score map; classes outside its top k are 0."""
    dense = np.zeros((*score_map.scores.shape[:2], num_classes))
    np.put_along_axis(dense, score_map.classes.astype(int), cell_probabilities(score_map, num_classes), axis=-1)
    return dense


def cell_agreement(store: ScoreMapStore, keys: list[str], masks: list[np.ndarray]) -> float:
    """Return the percentage of covered cells whose top-1 class is that of the object covering more than half of it.

    ``masks`` [H, W] of the keys' images: 0 is the background, 1 + k is class k; H and W are multiples of the grid's.
    """
    hits, cells = 0, 0
    h, w = store.grid_hw
    for key, mask in zip(keys, masks, strict=True):
        blocks = mask.reshape(h, mask.shape[0] // h, w, -1).swapaxes(1, 2).reshape(h, w, -1)  # [h, w, pixels]
        shares = (blocks[..., None] == np.arange(1, store.num_classes + 1)).mean(2)  # [h, w, K]
        covered = shares.max(-1) > 0.5
        hits += (store[key].classes[..., 0] == shares.argmax(-1))[covered].sum()
        cells += covered.sum()
    return 100 * hits / cells


def draw_score_maps(store: ScoreMapStore, images: Path, names: list[str], palette: np.ndarray) -> Figure:
    """Return a figure of training images with their score maps."""
    panels = []
    for key in spread(sorted(store), 8):
        image = read_image(images / key)[..., ::-1]
        cells = blend_colors(dense_probabilities(store[key], len(names)), palette)
        panels += [(image, key.split("/")[0]), (lay_over(image, cells), "its score map")]
    return draw_panels(panels, 8, names, palette)


def draw_mixed_images(work: Path, names: list[str], palette: np.ndarray) -> Figure:
    """Return a figure of two images of a training batch after MixToken: views, mixed patches, mixed token labels."""
    cfg = run_config(work / "token_labels")
    init_default_scope(cfg.default_scope)
    np.random.seed(0)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    batch = [dataset[index] for index in spread(list(range(len(dataset))), 4)]
    inputs, samples = ([each[name] for each in batch] for name in ("inputs", "data_samples"))
    cfg.model.data_preprocessor.batch_augments.probs = None  # mix every batch
    preprocessor = MODELS.build(cfg.model).data_preprocessor
    share = 1.0
    while not 0.3 < share < 0.7:  # most boxes are too small, or too large, to show the effect
        mixed = preprocessor(dict(inputs=inputs, data_samples=samples), training=True)
        share = mixed["token_mix"].mask.float().mean().item()
    targets = mixed["targets"].patch_tokens
    stays_hw = mixed["token_mix"].mask.numpy().reshape(targets.grid_hw)
    views = [image.flip(0).permute(1, 2, 0).numpy() for image in inputs]
    labels = [names[int(sample.gt_label)] for sample in samples]
    panels = []
    for index, partner in enumerate(mixed["token_mix"].partner.tolist()[:2]):
        cells = blend_colors(targets.dense()[index].numpy().reshape(*targets.grid_hw, -1), palette)
        mixture = mix_patches(views[index], views[partner], stays_hw)
        panels += [
            (views[index], f"A: {labels[index]}"),
            (views[partner], f"B: {labels[partner]}"),
            (mixture, "the mixed tokens, shown as patches"),
            (lay_over(mixture, cells), f"their labels; class: {share:.0%} A, {1 - share:.0%} B"),
        ]
    return draw_panels(panels, columns=4)


def draw_segmentation(work: Path, data: Path, names: list[str], palette: np.ndarray) -> Figure:
    """Return a figure of validation images with their true and predicted masks."""
    panels = []
    for path in spread(sorted((work / "predictions/masks").glob("*.png")), 8):
        true = read_mask(data / "annotations/validation" / path.name)
        panels += [
            (read_image(data / "images/validation" / path.name)[..., ::-1], path.stem),
            (palette[true], "true mask"),
            (palette[read_mask(path)], "predicted mask"),
        ]
    return draw_panels(panels, 6, names, palette)
