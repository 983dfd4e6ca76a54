"""Segment images: a mask of each, an overlay with a legend, and the area of every class.

python tools/segment.py CONFIG CHECKPOINT IMAGES [IMAGES ...] -o OUT
mim run mmtl segment CONFIG CHECKPOINT photos -o segmented

IMAGES are files and folders (with the folders below). For photos/a/1.jpg, OUT gets
    masks/a/1.png      the class index of every pixel; viewers show the classes' colours (256 classes at most)
    overlays/a/1.png   the colours over the image, beside it the classes with their shares
    areas.csv          one row an image: file, width, height, and the share of each class, summing to one
CHECKPOINT may be `random`, to try a config. Test size and windows are those of the config.
"""

from __future__ import annotations

import argparse
import colorsys
import csv
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import DictAction
from mmseg.apis import MMSegInferencer
from mmseg.registry import DATASETS
from PIL import Image
from rich.progress import track

from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import dataset_meta, fit_weights, read_checkpoint, unwrap_weights
from mmtl.utils.config_file import read_config
from mmtl.utils.image_files import IMAGE_SUFFIXES
from mmtl.utils.model_parts import decode_head_of
from mmtl.utils.read_image import read_image
from mmtl.visualization.overlay import draw_overlay

RANDOM_WEIGHTS = "random"
MOST_LOGITS = 2**28  # of an image, 1 GiB; a larger one is predicted smaller and its mask enlarged
LONGEST = 64  # long to short side; a thinner image is widened, or resizing would round its short side to nothing
GOLDEN_RATIO = 0.618034  # steps of it around the colour circle stay apart, however many there are


class ClassTable(NamedTuple):
    """Names of K classes and their colours, uint8 [K, 3] RGB."""

    names: list[str]
    palette: np.ndarray


def main(arguments: list[str] | None = None) -> None:
    """Segment images; a user's mistake ends with one message and exit code 1."""
    args = parse_args(arguments)
    try:
        images = find_images(args.images, args.out)
        inferencer, table = load_model(args.config, args.checkpoint, args.device, args.cfg_options)
        failures = segment_all(inferencer, table, images, args.out, args.opacity)
    except (OSError, ValueError, RuntimeError) as error:  # the last: a device that is missing or full
        sys.exit(f"segment: {error}")
    print(f"{args.out}: {len(images) - len(failures)} images segmented")
    if failures:
        lines = [f"{path}: {reason}" for path, reason in list(failures.items())[:10]]
        sys.exit("\n  ".join([f"segment: {len(failures)} of {len(images)} images were left out:", *lines]))


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a segmentation config")
    parser.add_argument("checkpoint", help="its weights, or `random`")
    parser.add_argument("images", type=Path, nargs="+", help="image files and folders of them")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--opacity", type=float, default=0.5, help="of the colours in the overlays (default 0.5)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="config changes, key=value")
    return parser.parse_args(arguments)


def find_images(places: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Images by the name that they are written under, relative and without suffix; what lies in ``out`` is no input.

    Raises:
        FileNotFoundError: A place is missing or holds no image.
        ValueError: Two images have the same name.
    """
    found: dict[Path, Path] = {}
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f"{place}: no such image or folder")
        paths = [place] if place.is_file() else images_below(place, out)
        if not paths:
            raise FileNotFoundError(f"{place} holds no image ({' '.join(IMAGE_SUFFIXES)})")
        for path in paths:
            name = Path(path.stem) if path == place else path.relative_to(place).with_suffix("")
            if found.setdefault(name, path) != path:
                raise ValueError(
                    f"{found[name]} and {path} would both be written as {name}.png; rename one, or segment them into "
                    "different folders"
                )
    return found


def images_below(folder: Path, out: Path) -> list[Path]:
    """Image files in a folder and the folders below, sorted, without those under ``out``."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(path for path in paths if not path.resolve().is_relative_to(out.resolve()))


def load_model(
    config: Path, checkpoint: str, device: str, cfg_options: dict | None
) -> tuple[MMSegInferencer, ClassTable]:
    """MMSegmentation's inferencer with weights that have to fit, and what its classes are called.

    Raises:
        OSError: Config or checkpoint cannot be read.
        ValueError: The config is none of a segmentor, or the checkpoint does not fit it.
    """
    cfg = read_config(config)
    cfg.merge_from_dict(cfg_options or {})
    if "decode_head" not in cfg.get("model", {}) or "test_dataloader" not in cfg:
        raise ValueError(
            f"{config} has no model with a decode_head, or no test_dataloader; give a segmentation config"
        )
    contents = {} if checkpoint == RANDOM_WEIGHTS else read_checkpoint(Path(checkpoint))
    torch.manual_seed(0)  # random weights are the same in every run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no weights yet
        inferencer = MMSegInferencer(cfg, device=device, show_progress=False)
    # Not the inferencer's own loading: that lets weights of another model pass with a line in the log.
    if contents:
        fit_weights(inferencer.model, unwrap_weights(contents), checkpoint)
    return inferencer, class_table(
        dataset_meta(contents), cfg.test_dataloader.dataset, decode_head_of(inferencer.model).num_classes
    )


def class_table(known: Mapping, dataset: Mapping, count: int) -> ClassTable:
    """Names and colours: the checkpoint's, else the data set's, else numbers and colours around the circle."""
    if not known.get("classes"):
        kind = DATASETS.get(dataset["type"])
        known = {**getattr(kind, "METAINFO", {}), **dataset.get("metainfo", {})}
    names, palette = known.get("classes") or (), known.get("palette") or ()
    if len(names) != count:
        names = [f"class {index}" for index in range(count)]
    if len(palette) != count:
        circle = [colorsys.hsv_to_rgb(GOLDEN_RATIO * index % 1, 0.8, 0.9) for index in range(count)]
        palette = np.multiply(circle, 255)
    return ClassTable([name.strip() for name in names], np.asarray(palette).round().astype(np.uint8))


def segment_all(
    inferencer: MMSegInferencer, table: ClassTable, images: Mapping[Path, Path], out: Path, opacity: float
) -> dict[Path, str]:
    """Segment images into the files of ``out``; the reason for each that could not be."""
    rows, failures = [], {}
    for name, path in track(images.items(), description="segment"):
        image = read_image(path)
        if image is None:
            failures[path] = "cannot be decoded as an image"
            continue
        try:
            mask = segment(inferencer, image, len(table.names))
        except (ValueError, RuntimeError, cv2.error) as error:  # a size that resizing or the model refuses
            failures[path] = f"{image.shape[0]} x {image.shape[1]} pixels (H x W): {error}".strip()
            continue
        save(out / "masks" / f"{name}.png", mask_picture(mask, table.palette))
        overlay = draw_overlay(np.ascontiguousarray(image[..., ::-1]), mask, table.names, table.palette, opacity)
        save(out / "overlays" / f"{name}.png", Image.fromarray(overlay))
        shares = np.bincount(mask.ravel(), minlength=len(table.names)) / mask.size
        rows.append([path.as_posix(), mask.shape[1], mask.shape[0], *(f"{share:.6f}" for share in shares)])
    if rows:
        with atomic_file(out / "areas.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["image", "width", "height", *table.names], *rows])
    return failures


def segment(inferencer: MMSegInferencer, image: np.ndarray, classes: int) -> np.ndarray:
    """Class indices [H, W] of a BGR image [H, W, 3]."""
    height, width = image.shape[:2]
    stretch = math.ceil(max(height, width) / (LONGEST * min(height, width)))
    if stretch > 1:
        axis = int(width < height)  # of the short side
        widened = segment(inferencer, image.repeat(stretch, axis), classes)
        return widened[::stretch] if axis == 0 else widened[:, ::stretch]
    scale = math.sqrt(MOST_LOGITS / (classes * height * width))
    if scale < 1:
        size = max(1, int(width * scale)), max(1, int(height * scale))
        small = segment(inferencer, cv2.resize(image, size, interpolation=cv2.INTER_AREA), classes)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    mask = inferencer(image, return_datasamples=True).pred_sem_seg.data[0].cpu().numpy()
    return mask.astype(np.uint8 if classes <= 256 else np.uint16)


def mask_picture(mask: np.ndarray, palette: np.ndarray) -> Image.Image:
    """The class indices as a picture whose pixel values they are."""
    picture = Image.fromarray(mask)
    if mask.dtype == np.uint8:
        picture.putpalette(palette.ravel().tolist())
    return picture


def save(path: Path, picture: Image.Image) -> None:
    """Write a PNG that appears only when it is whole."""
    with atomic_file(path) as part:
        picture.save(part, "PNG")


if __name__ == "__main__":
    main()
