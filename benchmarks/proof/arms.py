"""The arms that the proof compares: the config of each and the labels that it needs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

RECIPES = Path(__file__).parents[2] / "configs/examples"
CLASSES, MAPS = "lvvit-nano_1xb128-classlabel-3e_cifar10.py", "lvvit-nano_1xb128-tokenlabel-3e_cifar10.py"
PROBABILITY = "lvvit-nano_1xb128-tokenlabel-probability-3e_cifar10.py"


@dataclass(frozen=True)
class Arm:
    """A recipe under configs/examples, changes of its model, and the source of its token labels."""

    recipe: str
    source: str | None = None  # "store", "online" (the same annotator), "labeler" (phase 1 of the same seed) or None
    changes: dict[str, Any] = field(default_factory=dict)

    def config(self, **changes: Any) -> Config:
        """Return its config with further changes by dotted keys, as ``--cfg-options`` makes them."""
        config = Config.fromfile(RECIPES / self.recipe)
        config.merge_from_dict({**self.changes, **changes})
        return config


FORM = "model.data_preprocessor.label_form"
LABELER = Arm(CLASSES, changes={"model.head.beta": 0.5, "model.head.patch_target": "label"})
ARMS = {
    "class labels": Arm(CLASSES),
    "class labels, CutMix": Arm("lvvit-nano_1xb128-classlabel-cutmix-3e_cifar10.py"),
    "token labels": Arm(MAPS, "store"),
    "token labels, MixToken": Arm("lvvit-nano_1xb128-tokenlabel-mixtoken-3e_cifar10.py", "store"),
    "token labels, true probabilities": Arm(PROBABILITY, "store"),
    "token labels, online": Arm(MAPS, "online"),
    "self-emerging, soft": Arm(PROBABILITY, "labeler", {FORM: "soft"}),
    "self-emerging, hard": Arm(PROBABILITY, "labeler", {FORM: "hard"}),
}
