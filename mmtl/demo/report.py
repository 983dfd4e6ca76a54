"""The demo's report: one HTML file from the output of its runs."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS

from mmtl.demo.figures import draw_curves, draw_panels
from mmtl.demo.html_page import embed, page, paragraph, section, table
from mmtl.demo.results import RESULTS_HEADER, read_steps, results
from mmtl.demo.steps import WORK
from mmtl.score_maps import ScoreMap, ScoreMapStore
from mmtl.score_maps.stats import cell_probabilities
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.read_image import read_image
from mmtl.visualization.label_images import blend_colors, lay_over, mix_patches, paint_mask

PACKAGES = ("mmtl", "torch", "onedl-mmengine", "onedl-mmcv", "onedl-mmpretrain", "onedl-mmsegmentation")


def write_report(work: Path = WORK) -> Path:
    """Write ``report.html`` into the demo's work directory and return its path.

    Raises:
        FileNotFoundError: A step's output is missing.
    """
    html = build_report(work)
    path = work / "report.html"
    with atomic_file(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def build_report(work: Path) -> str:
    """Return the report on a finished demo as an HTML document."""
    rows = results(work)
    segmentation = run_config(work / "segmentation_token_labels")
    metainfo = segmentation.val_dataloader.dataset.metainfo
    data = Path(segmentation.val_dataloader.dataset.data_root).parent
    names, palette = list(metainfo.classes[1:]), np.array(metainfo.palette[1:], np.uint8)
    num_val = len(list((data / "classification/val").rglob("*.png")))
    accuracy = rows[2][2] / 100
    standard_error = 100 * (accuracy * (1 - accuracy) / num_val) ** 0.5
    return page(
        "Token labeling, end to end",
        paragraph(
            "A small CNN labels every position of the training images. A nano LV-ViT learns from these token labels "
            "with MixToken, and its backbone is fine-tuned for segmentation: on a synthetic dataset, on a CPU.",
        ),
        table(RESULTS_HEADER, rows),
        paragraph(
            f"Measured on {num_val} validation images after the last training step; the standard error of top-1 is "
            f"{standard_error:.1f} points."
        ),
        section("Training", embed(draw_curves(work), "training curves")),
        score_map_section(ScoreMapStore(work / "score_maps"), data, names, palette),
        mix_token_section(work, names, palette),
        segmentation_section(work, data, metainfo),
        commands_section(work, segmentation.randomness.seed),
    )


def run_config(run: Path) -> Config:
    """Return the config that mmengine dumped into a run's work directory."""
    dumped = sorted(run.glob("*.py"))
    if not dumped:
        raise FileNotFoundError(f"{run} has no config of a training run. Run the demo first.")
    return Config.fromfile(dumped[0])


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

    Args:
        store: score maps of grid h x w.
        keys: images.
        masks: one mask [H, W] for each image; 0 is the background, 1 + k is class k; H and W multiples of h and w.
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


def score_map_section(store: ScoreMapStore, data: Path, names: list[str], palette: np.ndarray) -> str:
    """Return training images with their score maps, and the maps' agreement with the masks."""
    keys = sorted(store)
    shown = []
    for key in spread(keys, 8):
        image = read_image(data / "classification/train" / key)[..., ::-1]
        cells = blend_colors(dense_probabilities(store[key], len(names)), palette)
        shown += [(image, key.split("/")[0]), (lay_over(image, cells), "its score map")]
    measured = spread(keys, min(400, len(keys)))
    annotations = data / "segmentation/annotations/training"
    masks = [cv2.imread(str(annotations / Path(key).name), cv2.IMREAD_GRAYSCALE) for key in measured]
    h, w = store.grid_hw
    return section(
        "What the annotator predicted: score maps",
        paragraph(
            f"The annotator, trained on one class label per image, predicts {h} x {w} positions. The color of a cell "
            "mixes the colors of its classes. The annotator has no class for the background and predicts nearby "
            "objects there. Of the cells that one object covers by more than half, "
            f"{cell_agreement(store, measured, masks):.1f} % have this object's class as top-1 class "
            f"({len(measured)} training images)."
        ),
        embed(draw_panels(shown, 8, names, palette), "score maps"),
    )


def mix_token_section(work: Path, names: list[str], palette: np.ndarray) -> str:
    """Return a training batch of four after MixToken: views, mixed patches, mixed token labels."""
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
        stays = mixed["token_mix"].mask.float()
        share = stays.mean().item()
    targets = mixed["targets"].patch_tokens
    stays_hw = stays.numpy().astype(bool).reshape(targets.grid_hw)
    views = [image.flip(0).permute(1, 2, 0).numpy() for image in inputs]
    labels = [names[int(sample.gt_label)] for sample in samples]
    shown = []
    for index, partner in list(enumerate(mixed["token_mix"].partner.tolist()))[:2]:
        cells = blend_colors(targets.dense()[index].numpy().reshape(*targets.grid_hw, -1), palette)
        mixture = mix_patches(views[index], views[partner], stays_hw)
        shown += [
            (views[index], f"A: {labels[index]}"),
            (views[partner], f"B: {labels[partner]}"),
            (mixture, "the mixed tokens, shown as patches"),
            (lay_over(mixture, cells), f"their labels; class: {share:.0%} A, {1 - share:.0%} B"),
        ]
    return section(
        "What MixToken did to a batch",
        paragraph(
            "Images A and B after random crop and flip. MixToken exchanges a box of tokens after patch embedding, so "
            "that no patch contains pixels of two images, and the token labels with them. The labels are those of the "
            "full image's score map under the same crop and flip."
        ),
        embed(draw_panels(shown, columns=4), "two images mixed by MixToken"),
    )


def segmentation_section(work: Path, data: Path, metainfo: dict) -> str:
    """Return validation images with their true and predicted masks."""
    palette = np.array(metainfo["palette"], np.uint8)
    truth, predicted = data / "segmentation/annotations/validation", work / "predictions/masks"
    shown = []
    for path in spread(sorted(predicted.glob("*.png")), 8):
        found, true = (cv2.imread(str(each / path.name), cv2.IMREAD_GRAYSCALE) for each in (predicted, truth))
        shown.append((read_image(data / "segmentation/images/validation" / path.name)[..., ::-1], path.stem))
        shown += [(paint_mask(true, palette), "true mask"), (paint_mask(found, palette), "predicted mask")]
    return section(
        "Segmentation: true and predicted masks",
        paragraph("UperNet on the backbone pretrained with token labels, on images of neither training set."),
        embed(draw_panels(shown, 6, list(metainfo["classes"]), palette), "true and predicted masks"),
    )


def commands_section(work: Path, seed: int) -> str:
    """Return the commands of all steps with their times, and the machine and versions they ran on."""
    rows = [[step["command"], round(step["seconds"])] for step in read_steps(work).values() if step["finished"]]
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}"
    return section(
        "Every step by hand",
        table(["command", "seconds"], rows, code=True),
        paragraph(
            f"{time.strftime('%Y-%m-%d')}, {machine}, {versions}. Seed {seed}. Other machines and numbers of "
            "threads round differently, which can change the results by a few points."
        ),
    )
