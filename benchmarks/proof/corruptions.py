"""Errors on corrupted images of the models that run.py has trained.

    python benchmarks/proof/corruptions.py data/cifar10 work_dirs/proof

Nine of ImageNet-C's corruptions, at severities 1, 3 and 5, applied to the first images of
each class; every model sees the same corrupted images.
"""

import argparse
import re
import statistics
from collections import defaultdict
from pathlib import Path

import torch
from arms import ARMS
from fit import top1
from images import Images, read_folder
from mmengine.config import Config
from mmpretrain.registry import MODELS
from run import file_stem
from torch import nn

from mmtl.datasets.transforms.corrupt import Corrupt
from mmtl.utils.checkpoint import load_weights

CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "fog", "brightness"),
    *("contrast", "pixelate", "jpeg_compression"),
)
SEVERITIES = (1, 3, 5)


def main() -> None:
    """Print the mean errors of each arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work_dir", type=Path, help="--work-dir of run.py")
    parser.add_argument("--per-class", type=int, default=100, help="images of each class (default: 100)")
    args = parser.parse_args()
    clean = first_of_each_class(read_folder(args.data / "val"), args.per_class)
    versions = {name: [corrupted(clean, name, severity) for severity in SEVERITIES] for name in CORRUPTIONS}
    print(f"| trained with | clean | {' | '.join(CORRUPTIONS)} | mean of the corrupted |")
    print("|---" * (len(CORRUPTIONS) + 3) + "|")
    for arm in ARMS:
        errors = defaultdict(list)
        for path in sorted(args.work_dir.glob("*.pth")):
            if re.fullmatch(file_stem(arm, r"\d+"), path.stem):
                model = trained_model(path)
                errors["clean"].append(100 - top1(model, clean))
                for name, images in versions.items():
                    errors[name].append(statistics.mean(100 - top1(model, version) for version in images))
        if errors:
            means = [statistics.mean(values) for values in errors.values()]
            of_seeds = [statistics.mean(seed) for seed in zip(*list(errors.values())[1:], strict=True)]
            spread = f" ± {statistics.stdev(of_seeds):.1f}" if len(of_seeds) > 1 else ""
            print(f"| {arm} | {' | '.join(f'{m:.1f}' for m in means)} | **{statistics.mean(of_seeds):.1f}**{spread} |")


def first_of_each_class(images: Images, count: int) -> Images:
    """Return the first images of each class."""
    chosen = torch.cat([(images.labels == k).nonzero()[:count, 0] for k in range(len(images.class_names))])
    return Images(images.pixels[chosen], images.labels[chosen], images.class_names)


def corrupted(images: Images, corruption: str, severity: int) -> Images:
    """Return corrupted images."""
    transform = Corrupt(corruption, severity)
    pixels = [transform({"img": image.permute(1, 2, 0).numpy().copy()})["img"] for image in images.pixels]
    pixels = torch.stack([torch.as_tensor(image).permute(2, 0, 1) for image in pixels])
    return Images(pixels, images.labels, images.class_names)


def trained_model(path: Path) -> nn.Module:
    """Build a model of run.py and load its weights; its annotator is not needed."""
    config = Config.fromfile(path.with_suffix(".py"))
    config.model.pop("annotator", None)
    model = MODELS.build(config.model)
    load_weights(model, path)
    return model.eval()


if __name__ == "__main__":
    main()
