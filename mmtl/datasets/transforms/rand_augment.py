"""RandAugment whose rotations, shears and translations update the sample's ``view_affine``.

Every class inherits its draw and its pixel operation. Arguments are those of the parent class unless listed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmpretrain.datasets.transforms import auto_augment

from mmtl.datasets.transforms.device_policies import check_device_form, draw_policy
from mmtl.datasets.transforms.draws import cached_draw
from mmtl.datasets.transforms.geometry import rotate_affine, shear_affine, translate_affine
from mmtl.datasets.transforms.view import image_hw, is_bgr8, move_view
from mmtl.registry import TRANSFORMS
from mmtl.utils.type_name import type_name, type_path

MOVING_POLICIES = ("Rotate", "Shear", "Translate")


class _MovesByMagnitude:
    """Mixin for a policy whose parent draws a signed magnitude, or does nothing, and then warps the image."""

    def random_negative(self, value: float) -> float:
        """Return the parent's last draw and keep it for the view."""
        self._drawn = super().random_negative(value)
        return self._drawn

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Warp the image, or not, and update the view."""
        input_hw = image_hw(results)
        self._drawn = None
        results = super().transform(results)
        if self._drawn is not None:
            move_view(results, input_hw, self.local_affine(self._drawn, input_hw))
        return results

    def local_affine(self, magnitude: float, input_hw: tuple[int, int]) -> np.ndarray:
        """Return the map [2, 3], unit square of the warped image -> unit square of the image before."""
        raise NotImplementedError


@TRANSFORMS.register_module()
class Rotate(_MovesByMagnitude, auto_augment.Rotate):
    """mmpretrain's Rotate that updates the view, and fills all channels with a single ``pad_val`` as the others do."""

    @property
    def pad_val(self) -> tuple[float, ...]:
        """Fill color, one value per channel."""
        return self._pad_val

    @pad_val.setter
    def pad_val(self, value: float | tuple[float, ...]) -> None:
        self._pad_val = value if isinstance(value, tuple) else (value,) * 3  # OpenCV adds zeros to a single value

    def local_affine(self, magnitude: float, input_hw: tuple[int, int]) -> np.ndarray:
        """See the parent."""
        return rotate_affine(magnitude, input_hw, self.center, self.scale)


@TRANSFORMS.register_module()
class Shear(_MovesByMagnitude, auto_augment.Shear):
    """mmpretrain's Shear that updates the view."""

    def local_affine(self, magnitude: float, input_hw: tuple[int, int]) -> np.ndarray:
        """See the parent."""
        return shear_affine(magnitude, self.direction, input_hw)


@TRANSFORMS.register_module()
class Translate(_MovesByMagnitude, auto_augment.Translate):
    """mmpretrain's Translate that updates the view."""

    def local_affine(self, magnitude: float, input_hw: tuple[int, int]) -> np.ndarray:
        """See the parent."""
        return translate_affine(magnitude, self.direction)


@TRANSFORMS.register_module()
class RandAugment(auto_augment.RandAugment):
    """mmpretrain's RandAugment with mmtl's moving policies in place of its own.

    timm's ``rand-m9-mstd0.5-inc1`` is ``policies='timm_increasing', num_policies=2, magnitude_level=9,
    magnitude_std=0.5, total_level=10``; its fill color and interpolation go into ``hparams``.

    Args:
        policies: name of a preset of mmpretrain, or a list of policy dictionaries.
        *args: ``num_policies``, ``magnitude_level`` and so on of the parent, as are the keyword arguments.
        on_device: record the draws, the same as without it, for the data preprocessor in place of changing the image
            here.

    Raises:
        ValueError: There is no preset of that name, a policy is not a dictionary or has no form on the device, or it
            changes colors and the image is not BGR of 8 bit.
    """

    def __init__(
        self, policies: str | Sequence[dict[str, Any]], *args: Any, on_device: bool = False, **kwargs: Any
    ) -> None:
        if isinstance(policies, str):
            presets = auto_augment.RANDAUG_POLICIES
            if policies not in presets:
                raise ValueError(f"policies must be a list or a preset of {sorted(presets)}, got {policies!r}.")
            policies = presets[policies]
        if unlike := [policy for policy in policies if not isinstance(policy, Mapping)]:
            raise ValueError(f"policies must be dictionaries such as dict(type='Rotate'), got {unlike[0]!r}.")
        super().__init__([with_view(policy) for policy in policies], *args, **kwargs)
        self.on_device = on_device
        self._recoloring = [type(policy).__name__ for policy in self.transforms if not hasattr(policy, "local_affine")]
        if on_device:
            for policy in self.transforms:
                check_device_form(policy)

    @cached_draw
    def random_policy_indices(self) -> list[int]:
        """Return the parent's draw for the same random numbers, without ``numpy.random.choice``, which is slow."""
        return np.random.randint(len(self.transforms), size=self.num_policies).tolist()

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Apply randomly chosen policies, or record them for the device."""
        if self._recoloring and not is_bgr8(results["img"]):
            raise ValueError(
                f"{results.get('img_path')}: policies {', '.join(self._recoloring)} need BGR images of 8 bit, got "
                f"{results['img'].dtype} {results['img'].shape}. Use policies=[dict(type='Rotate', ...), ...] of only "
                "Rotate, Shear and Translate."
            )
        if not self.on_device:
            return super().transform(results)
        for index in self.random_policy_indices():
            draw_policy(self.transforms[index], results)
        return results


def with_view(policy: dict[str, Any]) -> dict[str, Any]:
    """Return the same policy, in mmtl's form when mmpretrain's moves pixels."""
    path, name = type_path(policy["type"]), type_name(policy["type"])
    if path.partition(".")[0] in (name, "mmpretrain") and name in MOVING_POLICIES:
        return {**policy, "type": f"mmtl.{name}"}
    return policy
