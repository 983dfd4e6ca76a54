"""The LV-ViT of `mmtl start`: with released weights if they can be downloaded, else from scratch."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from mmtl.apis.convert import convert_file
from mmtl.utils.checkpoint import file_problem
from mmtl.utils.download import DOWNLOAD_BY_HAND, cached_download, cached_path
from mmtl.utils.shipped_files import shipped_folder

SCRATCH = "scratch"
CHANNELS = dict(tiny=240, small=384, medium=512)
DEFAULTS = {"cpu": "tiny", "cuda": "small"}
MANY = {"cpu": 10**9, "cuda": 10_000}  # images from which on a small LV-ViT, not a nano one, starts from scratch


@dataclass
class Student:
    """An LV-ViT to train."""

    title: str
    arch: str | None = None  # None: the nano model of the template
    channels: int | None = None
    weights: str | None = None  # file


def choose_student(
    arch: str | None, device: str, count: int, is_small: bool, folder: Path
) -> tuple[Student, list[str]]:
    """Return the LV-ViT to train, and a note if released weights could not be used.

    Args:
        arch: "tiny", "small" or "medium" with its released weights, "scratch", or None for the best that is at hand.
        device: "cpu" or "cuda".
        count: number of training images.
        is_small: whether the images are too small for a model that was pretrained on photographs.
        folder: where weights are written.
    """
    notes = []
    if arch != SCRATCH and not (is_small and arch is None):
        name = arch or DEFAULTS[device]
        try:
            weights = released_weights(name, folder)
            return Student(f"LV-ViT {name} with released weights", name, CHANNELS[name], weights), notes
        except OSError as error:
            url = released_url(name)
            if arch:  # the advice to give a path is not for this option
                reason, advice, _ = str(error).partition(DOWNLOAD_BY_HAND)
                if not advice:
                    raise
                remedy = f"Save it as {cached_path(url)} and start again, or give --student scratch."
                raise OSError(f"--student {arch}: {reason}{remedy}") from None
            notes.append(
                f"LV-ViT starts from scratch, as its released weights cannot be downloaded. To get them: save {url} "
                f"as {cached_path(url)}, then start again"
            )
    if count >= MANY[device] and not is_small:
        return Student("LV-ViT small from scratch", "small", CHANNELS["small"]), notes
    return Student("a nano LV-ViT from scratch"), notes


def released_weights(arch: str, folder: Path) -> str:
    """Download the weights of an LV-ViT for 224 pixels, convert them, and return the file."""
    target = folder / f"lvvit-{arch}_in1k.pth"
    convert_file(cached_download(released_url(arch), file_problem), target)
    return str(target)


def released_url(arch: str) -> str:
    """Return the address of the released weights of an LV-ViT for 224 pixels."""
    index = yaml.safe_load((shipped_folder("configs") / "lvvit" / "metafile.yml").read_text(encoding="utf-8"))
    name = f"lvvit-{arch}_8xb128-tokenlabel-300e_in1k"
    return next(entry["Weights"] for entry in index["Models"] if entry["Name"] == name)
