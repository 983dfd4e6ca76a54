"""What keeping the score map with the image costs a data-loader worker: mmtl's pipeline against MMPretrain's own.

    python benchmarks/pipeline.py

One process, one thread, a JPEG of 500 x 375 pixels, the transforms of the ImageNet recipe. The plain pipeline has no
score map; the other one looks its map up in a store of the published size (18 x 18 cells, top 5), moves its view and
packs it. Both draw the same random numbers.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import alternate
from mmcv.transforms import Compose
from mmpretrain.registry import TRANSFORMS

from mmtl.score_maps import ScoreMap, ScoreMapWriter

POLICY = dict(policies="timm_increasing", num_policies=2, magnitude_level=9, magnitude_std=0.5)
NAME = "image.jpg"


def main() -> None:
    """Print one table: milliseconds per image of ours, of the plain way, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="images per round (default: 200)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds, the median counts (default: 9)")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder))
        rows = [
            (title, measure(Path(folder), randaugment, args.images, args.rounds))
            for title, randaugment in (("crop, flip, erase", False), ("crop, flip, RandAugment, erase", True))
        ]
    print(f"{'pipeline':<34}{'mmtl ms':>9}{'plain ms':>10}{'ratio':>7}")
    for title, (ours, plain) in rows:
        print(f"{title:<34}{ours:>9.3f}{plain:>10.3f}{ours / plain:>7.2f}")


def write_inputs(folder: Path) -> None:
    """A smooth random JPEG, and a store with its map."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / NAME), cv2.resize(colours, (500, 375), interpolation=cv2.INTER_CUBIC))
    scores = -np.sort(-rng.normal(5, 2, (18, 18, 5))).astype(np.float16)
    classes = rng.permuted(np.tile(np.arange(1000, dtype=np.uint16), (18, 18, 1)), axis=-1)[..., :5]
    with ScoreMapWriter(folder / "store", num_classes=1000, grid_hw=(18, 18), topk=5) as writer:
        writer.add(NAME, ScoreMap(scores, classes))


def measure(folder: Path, randaugment: bool, images: int, rounds: int) -> list[float]:
    """Milliseconds per image, of mmtl's pipeline and of MMPretrain's."""
    load = dict(type="mmtl.LoadScoreMap", store=str(folder / "store"), image_root=str(folder))
    ways = {
        "mmtl": [load, *moving("mmtl.", randaugment), dict(type="mmtl.PackTokenLabelInputs")],
        "plain": [*moving("", randaugment), dict(type="PackInputs")],
    }
    runs = {name: repeat(configs, str(folder / NAME), images) for name, configs in ways.items()}
    return [seconds / images * 1000 for seconds in alternate(runs, rounds).values()]


def moving(scope: str, randaugment: bool) -> list[dict]:
    """The transforms of the recipe, mmtl's with ``scope='mmtl.'`` and OpenMMLab's with ''."""
    return [
        dict(type=f"{scope}RandomResizedCrop", scale=224, backend="pillow", interpolation="bicubic"),
        dict(type=f"{scope}RandomFlip", prob=0.5, direction="horizontal"),
        *([dict(type=f"{scope}RandAugment", **POLICY)] if randaugment else []),
        dict(type=f"{scope}RandomErasing", erase_prob=0.25, mode="rand"),
    ]


def repeat(configs: list[dict], img_path: str, images: int) -> Callable[[], None]:
    """A call that puts an image through the transforms many times, with the same random numbers each time."""
    pipeline = Compose([TRANSFORMS.build(config) for config in (dict(type="LoadImageFromFile"), *configs)])

    def run() -> None:
        np.random.seed(0)
        for _ in range(images):
            pipeline(dict(img_path=img_path, gt_label=0))

    return run


if __name__ == "__main__":
    main()
