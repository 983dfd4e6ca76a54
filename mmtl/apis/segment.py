"""Segment images: masks, overlays with a legend, and a table of class areas."""

from __future__ import annotations

import csv
import errno
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmseg.apis import MMSegInferencer
from mmseg.registry import DATASETS
from PIL import Image
from rich.progress import track

from mmtl.apis.start.image_masks import match_masks
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import dataset_meta, fit_weights, read_checkpoint, unwrap_weights
from mmtl.utils.class_colors import class_palette
from mmtl.utils.config_file import leaf_dataset_cfgs, name_config_errors, read_config
from mmtl.utils.image_files import IMAGE_SUFFIXES, files_under, is_image
from mmtl.utils.model_parts import decode_head_of
from mmtl.utils.out_folder import check_out_folder
from mmtl.utils.read_image import loading_options, read_image
from mmtl.utils.text import csv_cell, in_line
from mmtl.utils.type_name import type_name
from mmtl.visualization.overlay import draw_overlay
from mmtl.visualization.rgb import rgb_of

RANDOM_WEIGHTS = "random"
TABLE = "areas.csv"
RESULTS = ("masks", "overlays")  # folders
# Errors of a result's name: too long, or the folder of one image has the name of the result of another.
NAME_ERRORS = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
MAX_LOGITS = 2**28  # of an image, 1 GiB; a larger one is predicted smaller and its mask enlarged
MAX_ASPECT = 64  # long to short side; a thinner image is widened, or resizing would round its short side to nothing


class ClassColors(NamedTuple):
    """Names of K classes and their colors, uint8 [K, 3] RGB."""

    names: list[str]
    palette: np.ndarray


def segment(
    config: Path,
    checkpoint: str,
    images: Sequence[Path],
    out: Path,
    *,
    opacity: float = 0.5,
    device: str = "cpu",
    cfg_options: dict | None = None,
) -> tuple[int, dict[Path, str]]:
    """Segment images into the files of ``out``; the arguments are the options of ``mmtl segment``.

    Returns:
        Number of images segmented, and the reason for each image that could not be.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: Config, checkpoint and images do not fit, or ``out`` has other files than an earlier result.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"--opacity must be 0 to 1, got {opacity}. Give 0 for the image, 1 for the colors.")
    paths, failures = find_images(images, out)
    old = check_out_folder(out, TABLE, [TABLE, *(f"{kind}/{name}.png" for name in paths for kind in RESULTS)])
    with name_config_errors(config):
        check_mask_folders(images, paths.values(), read_config(config, cfg_options, warn=False))
        inferencer, table, loading = load_model(config, checkpoint, device, cfg_options)
    count, full = 0, None
    for name, path in track(paths.items(), description="segment"):
        try:
            image = read_image(path, **loading)
        except OSError as error:
            failures[path] = f"cannot be read: {error.strerror}"
            continue
        if image is None:
            failures[path] = "cannot be decoded as an image"
            continue
        try:
            mask = predict_mask(inferencer, image, len(table.names))
        except (ValueError, RuntimeError, MemoryError, cv2.error) as error:  # resizing, model or memory refuse a size
            full = error if isinstance(error, torch.OutOfMemoryError) else full
            failures[path] = f"{image.shape[0]} x {image.shape[1]} pixels (H x W): {error}".strip()
            continue
        rgb = rgb_of(image, is_bgr=loading.get("backend") != "tifffile")
        overlay = draw_overlay(rgb, mask, *table, opacity)
        if not count:
            start_table(out, old, table.names)
        if reason := save_results(out, name, masks=mask_image(mask, table.palette), overlays=overlay):
            failures[path] = reason
            continue
        shares = np.bincount(mask.ravel(), minlength=len(table.names)) / mask.size
        row = [csv_cell(path.as_posix()), mask.shape[1], mask.shape[0], *(f"{share:.6f}" for share in shares)]
        write_row(out / TABLE, "a", row)
        count += 1
    if full and not count:
        raise full
    return count, failures


def start_table(out: Path, old: Sequence[Path], classes: Sequence[str]) -> None:
    """Begin the table, which marks the folder as a result, and remove the images of an earlier one."""
    out.mkdir(parents=True, exist_ok=True)
    write_row(out / TABLE, "w", ["image", "width", "height", *map(csv_cell, classes)])
    for path in old:
        if path != out / TABLE:
            path.unlink(missing_ok=True)


def save_results(out: Path, name: Path, **results: Image.Image) -> str:
    """Write the results of an image; return why its name makes that impossible, else an empty text."""
    try:
        for kind, result in results.items():
            with atomic_file(out / kind / f"{name}.png") as part:
                result.save(part, "PNG")
    except OSError as error:
        if error.errno not in NAME_ERRORS:
            raise
        return f"cannot be written as {error.filename}: {error.strerror}"
    return ""


def write_row(path: Path, mode: str, row: Sequence) -> None:
    """Write one row of a table at once: a killed run keeps the rows of the images that it segmented."""
    with path.open(mode, newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(row)


def find_images(inputs: Sequence[Path], out: Path) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Return images by the name of their results, relative and without suffix, and why others have none.

    Files under ``out`` are excluded; inputs must not be below it.
    """
    found: dict[Path, Path] = {}
    failures: dict[Path, str] = {}
    for source in inputs:
        if not source.exists():
            raise FileNotFoundError(f"{source}: no such image or folder.")
        if source.resolve().is_relative_to(out.resolve()):
            raise ValueError(f"{out} contains the input {source}, which would be replaced. Give another folder.")
        paths = [source] if source.is_file() else images_below(source, out)
        if not paths:
            raise FileNotFoundError(f"{source} contains no image ({' '.join(IMAGE_SUFFIXES)}).")
        for path in paths:
            name = Path(path.stem) if path == source else path.relative_to(source).with_suffix("")
            if found.setdefault(name, path) != path:
                failures[path] = f"would be written as {name}.png, as {found[name]}. Rename one"
    return found, failures


def images_below(folder: Path, out: Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, sorted, without those under ``out`` and without masks.

    Masks are those that `mmtl start` pairs with images, and others in their folders.
    """
    names = sorted(filter(is_image, files_under(folder, out)))
    pairs, _, others = match_masks(names)
    masks = {mask for _, mask in pairs} | set(others if pairs else ())
    if masks:
        print(in_line(f"{folder}: masks are left out: {len(masks)}, such as {min(masks)}"))
    return [folder / name for name in names if name not in masks]


def check_mask_folders(inputs: Sequence[Path], paths: Iterable[Path], cfg: Config) -> None:
    """Raise a ValueError if folders of images also have the masks of the config's datasets."""
    masks = mask_folders(cfg)
    above = {folder for source in inputs if source.is_dir() for folder in masks if is_below(folder, source)}
    for folder in sorted(above):
        if any(is_below(path, folder) for path in paths):
            raise ValueError(
                f"The images must not include masks of the config, got a folder that contains {folder}. Give the "
                "folder of the images only."
            )


def is_below(path: Path, folder: Path) -> bool:
    """Return whether a path is in a folder, at any depth."""
    return folder.resolve() in path.resolve().parents


def mask_folders(cfg: Config) -> set[Path]:
    """Return the folders of the masks of a config's datasets that have no images of these datasets."""
    found: dict[str, set[Path]] = dict(img_path=set(), seg_map_path=set())
    loaders = (cfg.get(f"{name}_dataloader") or {} for name in ("train", "val", "test"))
    for dataset in (leaf for loader in loaders for leaf in leaf_dataset_cfgs(loader.get("dataset", {}))):
        root, prefix = Path(dataset.get("data_root") or ""), dataset.get("data_prefix") or {}
        file = root / (dataset.get("ann_file") or "")
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        pairs = [line.split("\t") for line in lines if line.count("\t") == 1]
        for index, (key, folders) in enumerate(found.items()):
            folder = root / (prefix.get(key) or "")
            folders |= {(folder / pair[index]).parent.resolve() for pair in pairs}
            folders |= {folder.resolve()} if prefix.get(key) and not pairs else set()
    images = found["img_path"]
    return {folder for folder in found["seg_map_path"] if not any(folder in (each, *each.parents) for each in images)}


def load_model(
    config: Path, checkpoint: str, device: str, cfg_options: dict | None
) -> tuple[MMSegInferencer, ClassColors, dict[str, str | None]]:
    """Return MMSegmentation's inferencer with weights that must fit, its classes, and how images are read."""
    cfg = read_config(config, cfg_options)
    if "decode_head" not in cfg.get("model", {}) or "test_dataloader" not in cfg:
        raise ValueError(
            f"{config} has no model with a decode_head, or no test_dataloader. Give a segmentation config."
        )
    loading = loading_options(cfg.test_dataloader.dataset.get("pipeline", ()))
    for step in cfg.test_dataloader.dataset.get("pipeline", ()):
        if (name := type_name(step["type"])) in ("LoadImageFromFile", "LoadAnnotations"):
            step["type"] = name  # the inferencer replaces the one and drops the other by these names
    contents = {} if checkpoint == RANDOM_WEIGHTS else read_checkpoint(Path(checkpoint))
    torch.manual_seed(0)  # random weights are the same in every run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the inferencer warns that it has no weights yet
        inferencer = MMSegInferencer(cfg, device=device, show_progress=False)
    if contents:  # the inferencer's own loading only logs that weights do not fit
        fit_weights(inferencer.model, unwrap_weights(contents), checkpoint)
    num_classes = decode_head_of(inferencer.model).num_classes
    return inferencer, class_colors(dataset_meta(contents), cfg.test_dataloader.dataset, num_classes), loading


def class_colors(known: Mapping, dataset: Mapping, num_classes: int) -> ClassColors:
    """Return names and colors: the checkpoint's, else the dataset's, else numbers and generated colors."""
    if not known.get("classes"):
        kind = dataset["type"]
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        known = {**getattr(kind, "METAINFO", {}), **dataset.get("metainfo", {})}
    names, palette = known.get("classes") or (), known.get("palette") or ()
    if len(names) != num_classes:
        names = [f"class {index}" for index in range(num_classes)]
    if len(palette) != num_classes:
        palette = class_palette(num_classes)
    if num_classes == 1:  # its sigmoid predicts 1 for what is not the class
        names, palette = [*names, "background"], [*palette, (0, 0, 0)]
    return ClassColors([in_line(name.strip()) for name in names], np.asarray(palette, np.uint8))


def predict_mask(inferencer: MMSegInferencer, image: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the class indices [H, W] of a BGR image [H, W, 3], or of what else the model takes."""
    height, width = image.shape[:2]
    stretch = math.ceil(max(height, width) / (MAX_ASPECT * min(height, width)))
    if stretch > 1:
        axis = int(width < height)  # of the short side
        widened = predict_mask(inferencer, image.repeat(stretch, axis), num_classes)
        return widened[::stretch] if axis == 0 else widened[:, ::stretch]
    scale = math.sqrt(MAX_LOGITS / (num_classes * height * width))
    if scale < 1:
        size = max(1, int(width * scale)), max(1, int(height * scale))
        # OpenCV's INTER_AREA takes up to four channels.
        method = cv2.INTER_AREA if image.size <= 4 * height * width else cv2.INTER_LINEAR
        small = predict_mask(inferencer, cv2.resize(image, size, interpolation=method), num_classes)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    mask = inferencer(image, return_datasamples=True).pred_sem_seg.data[0].cpu().numpy()
    return mask.astype(np.uint8 if num_classes <= 256 else np.uint16)


def mask_image(mask: np.ndarray, palette: np.ndarray) -> Image.Image:
    """Return an image whose pixel values are the class indices, with the palette if they fit in 8 bits."""
    image = Image.fromarray(mask)
    if mask.dtype == np.uint8:
        image.putpalette(palette.ravel().tolist())
    return image
