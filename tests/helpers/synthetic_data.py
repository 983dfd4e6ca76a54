"""Small synthetic datasets in the layout that the shipped example configs read."""

from pathlib import Path

import cv2
import numpy as np

from mmtl.score_maps import ScoreMap, ScoreMapWriter


def write_classification_data(root: Path) -> None:
    """Write ten class folders of four noisy images colored by class, and score maps of the same classes."""
    generator = np.random.default_rng(0)
    writer = ScoreMapWriter(root / "score_maps", num_classes=10, grid_hw=(4, 4), topk=3)
    for label in range(10):
        folder = root / "images" / "train" / f"class_{label}"
        folder.mkdir(parents=True)
        for index in range(4):
            image = generator.normal(25 * label, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{index}.png"), image)
            classes = np.stack([np.roll(np.arange(10), -label - i)[:3] for i in range(16)]).reshape(4, 4, 3)
            scores = np.sort(generator.normal(3, 2, (4, 4, 3)), axis=-1)[..., ::-1]
            writer.add(
                f"class_{label}/{index}.png", ScoreMap(scores.astype(np.float16), classes.astype(np.uint16), None)
            )
    writer.close()


def write_segmentation_data(root: Path) -> None:
    """Write eight images of two noise levels separated by a vertical line, and their annotations."""
    generator = np.random.default_rng(0)
    for index in range(8):
        labels = np.zeros((60, 80), np.uint8)
        labels[:, 5 * index + 20 :] = index % 10 + 1
        image = generator.normal(100 + 10 * labels[..., None], 15, (60, 80, 3)).clip(0, 255).astype(np.uint8)
        for kind, array, suffix in (("images", image, "jpg"), ("annotations", labels, "png")):
            folder = root / kind / "train"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{index}.{suffix}"), array)
