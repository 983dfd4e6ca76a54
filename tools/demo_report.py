"""Write the demo's report, one HTML file, from what the runs under WORK left behind.

mim run mmtl demo_report work_dirs/demo
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS

from mmtl.demo import (
    Figure,
    Line,
    blend_colors,
    figure_row,
    grid,
    lay_over,
    legend,
    line_chart,
    mix_patches,
    page,
    paint_mask,
    paragraph,
    read_curve,
    section,
    table,
)
from mmtl.score_maps import ScoreMap, ScoreMapStore
from mmtl.utils.atomic_file import atomic_file

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#8a929c"
PACKAGES = ("mmtl", "torch", "onedl-mmengine", "onedl-mmcv", "onedl-mmpretrain", "onedl-mmsegmentation")


def run_config(run: Path) -> Config:
    """The config that a run was started with, as mmengine dumped it in the run's folder."""
    dumped = sorted(run.glob("*.py"))
    if not dumped:
        raise FileNotFoundError(f"{run} holds no finished training run: run the demo first")
    return Config.fromfile(dumped[0])


def read_steps(work: Path) -> dict[str, dict]:
    """The demo's steps: {name: {command, seconds, ...}}."""
    path = work / "steps.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {work} is no folder of the demo; run the demo first")
    return json.loads(path.read_text())


# run, model, measure, scalar in the run's log
MEASURED = [
    ("annotator", "Annotator: a ResNet", "top-1", "accuracy/top1"),
    ("class_labels", "LV-ViT, class labels alone", "top-1", "accuracy/top1"),
    ("token_labels", "LV-ViT, token labels + MixToken", "top-1", "accuracy/top1"),
    ("segmentation_class_labels", "UperNet on LV-ViT, class labels alone", "mIoU", "mIoU"),
    ("segmentation_token_labels", "UperNet on LV-ViT, token labels + MixToken", "mIoU", "mIoU"),
]
RESULTS_HEAD = ["model", "measure", "%", "minutes"]


def results(work: Path) -> list[list[str | float]]:
    """Rows of the results' table: model, measure, percent on the validation images, minutes of training.

    Raises:
        FileNotFoundError: A run is not there or has not come to its first validation.
    """
    steps, rows = read_steps(work), []
    for run, model, measure, scalar in MEASURED:
        values = read_curve(work / run, scalar).values
        if not values:
            raise FileNotFoundError(f"{work / run} holds no validated training run: run the demo first")
        rows.append([model, measure, values[-1], steps[run]["seconds"] / 60])
    return rows


def read_rgb(path: Path) -> np.ndarray:
    """An image as uint8 RGB [H, W, 3]."""
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def map_probabilities(score_map: ScoreMap, num_classes: int) -> np.ndarray:
    """Probabilities [h, w, K] of a score map's classes; what its top k leave over stays away."""
    dense = np.zeros((*score_map.scores.shape[:2], num_classes))
    kept = np.exp(score_map.scores.astype(float) - score_map.log_norm.astype(float)[..., None])
    np.put_along_axis(dense, score_map.classes.astype(int), kept, axis=-1)
    return dense


def evenly(items: list, count: int) -> list:
    """So many items, spread over the list at a stride that does not keep step with the classes' turns."""
    return [items[(index * len(items) // count + index) % len(items)] for index in range(count)]


def charts(work: Path) -> str:
    """Training curves of all four runs."""

    def line(name: str, run: str, key: str, colour: str) -> Line:
        return Line(name, read_curve(work / run, key), colour)

    accuracy = [
        line("annotator", "annotator", "accuracy/top1", GREY),
        line("class labels", "class_labels", "accuracy/top1", ORANGE),
        line("token labels + MixToken", "token_labels", "accuracy/top1", BLUE),
    ]
    losses = [
        line("class token", "token_labels", "loss_cls", GREY),
        line("patch tokens, times beta", "token_labels", "loss_token", GREEN),
    ]
    quality = [
        line("class labels", "segmentation_class_labels", "mIoU", ORANGE),
        line("token labels + MixToken", "segmentation_token_labels", "mIoU", BLUE),
    ]
    drawn = [
        line_chart(accuracy, "epoch", "Accuracy on validation images, %", (0, 100)),
        line_chart(losses, "step", "Loss of token labels + MixToken"),
        line_chart(quality, "step", "mIoU on validation images, %", (0, 100)),
    ]
    return grid("".join(drawn), 3)


def cell_agreement(store: ScoreMapStore, keys: list[str], masks: list[np.ndarray]) -> float:
    """Percentage of the cells mostly covered by one object in which the annotator's best class is that object's.

    Args:
        store: score maps of grid h x w.
        keys: images.
        masks: of each image, 0 ground, 1 + class [H, W]; H and W multiples of h and w.
    """
    hits, cells = 0, 0
    h, w = store.grid_hw
    for key, mask in zip(keys, masks, strict=True):
        blocks = mask.reshape(h, mask.shape[0] // h, w, -1).swapaxes(1, 2).reshape(h, w, -1)
        shares = (blocks[..., None] == np.arange(1, store.num_classes + 1)).mean(2)  # [h, w, K]
        covered = shares.max(-1) > 0.5
        hits += (store[key].classes[..., 0] == shares.argmax(-1))[covered].sum()
        cells += covered.sum()
    return 100 * hits / cells


def score_map_section(store: ScoreMapStore, data: Path, names: list[str], palette: np.ndarray) -> str:
    """Training images with their score maps, and how far the maps agree with the masks."""
    keys = sorted(store)
    figures = []
    for key in evenly(keys, 8):
        image = read_rgb(data / "classification/train" / key)
        cells = blend_colors(map_probabilities(store[key], len(names)), palette)
        figures += [Figure(image, f"class: {key.split('/')[0]}"), Figure(lay_over(image, cells), "its score map")]
    measured = evenly(keys, min(400, len(keys)))
    annotations = data / "segmentation/annotations/training"
    masks = [cv2.imread(str(annotations / Path(key).name), cv2.IMREAD_GRAYSCALE) for key in measured]
    h, w = store.grid_hw
    return section(
        "What the annotator saw: score maps",
        paragraph(
            f"The annotator was trained on one class label per image, kept dense, and asked at {h} x {w} positions. "
            "The colour of a cell is the mixture of its classes' colours. The annotator knows no class for the "
            "ground and answers there with what is near. In "
            f"{cell_agreement(store, measured, masks):.1f} % of the cells that an object covers by more than half, "
            f"its best class is that object's ({len(measured)} training images, compared with the drawn masks)."
        ),
        legend(names, palette),
        figure_row(figures, 8),
    )


def mix_token_section(work: Path, data: Path, names: list[str], palette: np.ndarray) -> str:
    """A training batch of four as the data preprocessor mixed it: views, mixed patches, mixed token labels."""
    cfg = run_config(work / "token_labels")
    init_default_scope(cfg.default_scope)
    np.random.seed(0)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    batch = [dataset[index] for index in evenly(list(range(len(dataset))), 4)]
    inputs, samples = ([each[name] for each in batch] for name in ("inputs", "data_samples"))
    preprocessor = MODELS.build(cfg.model).data_preprocessor
    share = 1.0
    while not 0.3 < share < 0.7:  # a box that shows something: others are as small as nothing
        mixed = preprocessor(dict(inputs=inputs, data_samples=samples), training=True)
        stays = mixed["token_mix"].mask.float()
        share = stays.mean().item()
    targets = mixed["targets"].patch_tokens
    stays_hw = stays.numpy().astype(bool).reshape(targets.grid_hw)
    views = [image.flip(0).permute(1, 2, 0).numpy() for image in inputs]
    labels = [names[int(sample.gt_label)] for sample in samples]
    figures = []
    for index, partner in list(enumerate(mixed["token_mix"].partner.tolist()))[:2]:
        cells = blend_colors(targets.dense()[index].numpy().reshape(*targets.grid_hw, -1), palette)
        mixture = mix_patches(views[index], views[partner], stays_hw)
        figures += [
            Figure(views[index], f"A: {labels[index]}"),
            Figure(views[partner], f"B: {labels[partner]}"),
            Figure(mixture, "the tokens mixed, shown as patches"),
            Figure(lay_over(mixture, cells), f"their labels; class: {share:.0%} A, {1 - share:.0%} B"),
        ]
    return section(
        "What MixToken did to a batch",
        paragraph(
            "Images A and B after random crop and flip, straight from the training pipeline. MixToken exchanges a box "
            "of tokens after patch embedding, so that no patch straddles two images, and the token labels go along. "
            "The labels were read from the score map of the whole image through the same crop and flip."
        ),
        figure_row(figures, 4),
    )


def segmentation_section(work: Path, data: Path, metainfo: dict) -> str:
    """Validation images, the drawn masks and the predictions."""
    palette = np.array(metainfo["palette"], np.uint8)
    figures = []
    for path in evenly(sorted((work / "predictions/masks").glob("*.png")), 8):
        truth, found = (
            paint_mask(cv2.imread(str(folder / path.name), cv2.IMREAD_GRAYSCALE), palette)
            for folder in (data / "segmentation/annotations/validation", work / "predictions/masks")
        )
        image = read_rgb(data / "segmentation/images/validation" / path.name)
        figures += [Figure(image, path.stem), Figure(truth, "truth"), Figure(found, "predicted")]
    return section(
        "Segmentation: predicted beside the truth",
        paragraph("UperNet on the backbone that token labels pretrained, on images of neither training set."),
        legend(list(metainfo["classes"]), palette),
        figure_row(figures, 6),
    )


def reproduce_section(work: Path, seed: int) -> str:
    """The commands of all steps with their times, and what they ran on."""
    rows = [[step["command"], round(step["seconds"])] for step in read_steps(work).values() if step["finished"]]
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    where = f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}, {versions}"
    return section(
        "Every step by hand",
        table(["command", "seconds"], rows, code_column=0),
        paragraph(
            f"{time.strftime('%Y-%m-%d')}, {where}. Seed {seed}. Other machines round differently and may end "
            "a few tenths of a percent away."
        ),
    )


def report(work: Path) -> str:
    """The report on a finished demo as an HTML document."""
    segmentation = run_config(work / "segmentation_token_labels")
    metainfo = segmentation.val_dataloader.dataset.metainfo
    data = Path(segmentation.val_dataloader.dataset.data_root).parent
    names, palette = list(metainfo.classes[1:]), np.array(metainfo.palette[1:], np.uint8)
    store, rows = ScoreMapStore(work / "score_maps"), results(work)
    num_val = len(list((data / "classification/val").rglob("*.png")))
    share = rows[2][2] / 100
    error = 100 * (share * (1 - share) / num_val) ** 0.5
    return page(
        "Token labeling, end to end",
        paragraph(
            "A small CNN labels every position of the training images. A nano LV-ViT learns from these token labels, "
            "with MixToken, and its backbone goes on to segment. All of it on a drawn data set, on a CPU.",
            "lead",
        ),
        table(RESULTS_HEAD, rows),
        paragraph(
            f"All on the {num_val} validation images, after the last step of training. With so few images top-1 has a "
            f"standard error of {error:.1f} points."
        ),
        section("Training", charts(work)),
        score_map_section(store, data, names, palette),
        mix_token_section(work, data, names, palette),
        segmentation_section(work, data, metainfo),
        reproduce_section(work, segmentation.randomness.seed),
    )


def main() -> int:
    """Write WORK/report.html."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, metavar="WORK", help="the demo's folder, such as work_dirs/demo")
    work = parser.parse_args().work
    try:
        html = report(work)
    except (FileNotFoundError, ValueError) as error:
        print(f"demo_report: {error}", file=sys.stderr)
        return 1
    with atomic_file(work / "report.html") as part:
        part.write_text(html, encoding="utf-8")
    print(f"Report: {work / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
