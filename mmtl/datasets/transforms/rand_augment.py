"""RandAugment whose rotations, shears and translations tell the sample's view what they did.

Every class inherits its draw and its pixel work; nothing is drawn twice. Arguments are the parent class's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmpretrain.datasets.transforms import auto_augment

from mmtl.datasets.transforms.geometry import rotate_affine, shear_affine, translate_affine
from mmtl.datasets.transforms.view import image_hw, move_view
from mmtl.registry import TRANSFORMS

MOVING_POLICIES = ("Rotate", "Shear", "Translate")


class _MovesByMagnitude:
    """A policy whose parent draws a signed magnitude, or does nothing, and then warps the image."""

    def random_negative(self, value: float) -> float:
        """The parent's last draw, kept for the view."""
        self._drawn = super().random_negative(value)
        return self._drawn

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Warps the image, or not, and moves the view."""
        input_hw = image_hw(results)
        self._drawn = None
        results = super().transform(results)
        if self._drawn is not None:
            move_view(results, input_hw, self.local_affine(self._drawn, input_hw))
        return results

    def local_affine(self, magnitude: float, input_hw: tuple[int, int]) -> np.ndarray:
        """[2, 3], unit square of the warped image -> unit square of the image before."""
        raise NotImplementedError


@TRANSFORMS.register_module()
class Rotate(_MovesByMagnitude, auto_augment.Rotate):
    """mmpretrain's Rotate that keeps the view."""

    def local_affine(self, magnitude: float, input_hw: tuple[int, int]) -> np.ndarray:
        """See the parent."""
        return rotate_affine(magnitude, input_hw, self.center, self.scale)


@TRANSFORMS.register_module()
class Shear(_MovesByMagnitude, auto_augment.Shear):
    """mmpretrain's Shear that keeps the view."""

    def local_affine(self, magnitude: float, input_hw: tuple[int, int]) -> np.ndarray:
        """See the parent."""
        return shear_affine(magnitude, self.direction, input_hw)


@TRANSFORMS.register_module()
class Translate(_MovesByMagnitude, auto_augment.Translate):
    """mmpretrain's Translate that keeps the view."""

    def local_affine(self, magnitude: float, input_hw: tuple[int, int]) -> np.ndarray:
        """See the parent."""
        return translate_affine(magnitude, self.direction)


@TRANSFORMS.register_module()
class RandAugment(auto_augment.RandAugment):
    """mmpretrain's RandAugment with the moving policies of mmtl in place of its own.

    timm's ``rand-m9-mstd0.5-inc1`` is ``policies='timm_increasing', num_policies=2, magnitude_level=9,
    magnitude_std=0.5, total_level=10``; its fill colour and interpolation go into ``hparams``.

    Args:
        policies: Name of a preset of mmpretrain, or a list of policy dictionaries.
        *args: ``num_policies``, ``magnitude_level`` and so on of the parent, as are the keyword arguments.

    Raises:
        ValueError: There is no preset of that name.
    """

    def __init__(self, policies: str | Sequence[dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        if isinstance(policies, str):
            if policies not in auto_augment.RANDAUG_POLICIES:
                raise ValueError(
                    f"RandAugment has no preset {policies!r}; choose from {sorted(auto_augment.RANDAUG_POLICIES)}"
                )
            policies = auto_augment.RANDAUG_POLICIES[policies]
        super().__init__([with_view(policy) for policy in policies], *args, **kwargs)


def with_view(policy: dict[str, Any]) -> dict[str, Any]:
    """The same policy, in mmtl's form when mmpretrain's moves pixels."""
    scope, _, name = policy["type"].rpartition(".")
    if scope in ("", "mmpretrain") and name in MOVING_POLICIES:
        return {**policy, "type": f"mmtl.{name}"}
    return policy
