"""The arms that the proof compares: what each trains on."""

import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config

RECIPES = Path(__file__).parents[2] / "configs/examples"
ARMS = {
    "class labels": "lvvit-nano_1xb128-classlabel-3e_cifar10.py",
    "class labels, CutMix": "lvvit-nano_1xb128-classlabel-cutmix-3e_cifar10.py",
    "token labels": "lvvit-nano_1xb128-tokenlabel-3e_cifar10.py",
    "token labels, MixToken": "lvvit-nano_1xb128-tokenlabel-mixtoken-3e_cifar10.py",
    "token labels, true probabilities": "lvvit-nano_1xb128-tokenlabel-probability-3e_cifar10.py",
}


def model_of(arm: str) -> dict[str, Any]:
    """Return the model's config of an arm."""
    return copy.deepcopy(Config.fromfile(RECIPES / ARMS[arm]).model)


def uses_maps(arm: str) -> bool:
    """Return whether an arm is trained on score maps."""
    return arm.startswith("token labels")
