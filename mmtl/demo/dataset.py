"""The demo's dataset on disk: every synthetic scene in ImageNet's layout and in ADE20K's."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmtl.demo.scenes import CLASSES, draw_scene
from mmtl.utils.atomic_file import name_disk_errors

MARKER = "demo.json"
SPLITS = {"train": "training", "val": "validation"}  # ImageNet's name -> ADE20K's name


@dataclass(frozen=True)
class Settings:
    """Settings of a dataset; equal settings give equal bytes."""

    num_train: int = 3000
    num_val: int = 480
    height: int = 64
    width: int = 80
    seed: int = 0

    def __post_init__(self) -> None:
        minimum = dict(num_train=len(CLASSES), num_val=len(CLASSES), height=48, width=48, seed=0)
        for name, value in asdict(self).items():
            if value < minimum[name]:
                raise ValueError(f"{name} must be at least {minimum[name]}, got {value}.")


def make_demo_data(out: Path, settings: Settings) -> bool:
    """Make the dataset in a folder unless it is already there; return whether it was made.

    The folder is written under a temporary name: an interrupted run leaves no incomplete dataset.

    Raises:
        ValueError: The folder has other content.
    """
    if is_complete(out, settings):
        return False
    draft = out.with_name(f".{out.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        with name_disk_errors(draft):
            write_split(draft, "train", settings.num_train, settings)
            write_split(draft, "val", settings.num_val, settings)
            (draft / MARKER).write_text(json.dumps(asdict(settings), indent=2) + "\n")
        if out.exists():
            out.rmdir()
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True


def is_complete(out: Path, settings: Settings) -> bool:
    """Return whether a folder holds this dataset; raise ValueError when it holds anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    marker = out / MARKER
    if not marker.is_file():
        raise ValueError(f"{out} must be a new folder or a demo dataset, but has no {MARKER}. Choose another folder.")
    found = json.loads(marker.read_text())
    if found != asdict(settings):
        raise ValueError(f"{out} was made with other settings: {found}. Delete it or choose another folder.")
    return True


def write_split(root: Path, split: str, count: int, settings: Settings) -> None:
    """Write ``count`` scenes of a split, cycling through the classes, in both layouts below ``root``."""
    images, annotations = (root / "segmentation" / kind / SPLITS[split] for kind in ("images", "annotations"))
    folders = [root / "classification" / split / name for name in CLASSES]
    for folder in [images, annotations, *folders]:
        folder.mkdir(parents=True)
    for index in range(count):
        # One random stream for each image: a larger dataset begins with the images of a smaller one.
        rng = np.random.default_rng([settings.seed, list(SPLITS).index(split), index])
        scene = draw_scene(rng, index % len(CLASSES), settings.height, settings.width)
        name = f"{split}_{index:05d}.png"
        # Little compression is fast.
        Image.fromarray(scene.image[..., ::-1]).save(folders[scene.label] / name, compress_level=1)
        shutil.copyfile(folders[scene.label] / name, images / name)
        Image.fromarray(scene.mask).save(annotations / name, compress_level=1)
