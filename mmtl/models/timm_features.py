"""Patch features of timm models, in the layouts that timm has, and each of them as the features of an image."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

MAX_PREFIX = 2  # class and distillation token, in models without num_prefix_tokens
OnePatch = Callable[[Tensor], Tensor]


def patch_map(
    model: nn.Module, features: object, image_hw: tuple[int, int], stride: int | None = None
) -> tuple[Tensor, OnePatch]:
    """Arrange the patch features of a timm model by position.

    Args:
        model: timm model.
        features: what its ``forward_features`` returns.
        image_hw: pixels of the images.
        stride: pixels per patch, None if they are unknown.

    Returns:
        tuple: the patch features [B, h, w, C], and a function that maps n of them [n, C] to features in the layout of
        ``features``, of n images of one patch. The class token and other prefix tokens of such an image are the patch
        feature as well, so that ``forward_head`` pools nothing else.

    Raises:
        ValueError: They are not a grid of square patches; the message is the reason.
    """
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        raise ValueError("its features are not a single map")
    if features.ndim == 4 and _is_channels_last(model, features):
        return features, lambda cells: cells[:, None, None]
    if features.ndim == 4:
        return features.permute(0, 2, 3, 1), lambda cells: cells[..., None, None]
    count, known = features.shape[1], getattr(model, "num_prefix_tokens", None)
    for prefix in range(MAX_PREFIX + 1) if known is None else [known]:
        if count - prefix > 1 and (grid_hw := square_grid(count - prefix, image_hw, stride)):
            patches = features[:, prefix:].unflatten(1, grid_hw)
            return patches, partial(_as_sequence, length=max(prefix, 1) + 1)
    raise ValueError(f"its {count} tokens do not tile a {image_hw[0]} x {image_hw[1]} image")


def _as_sequence(cells: Tensor, length: int) -> Tensor:
    return cells[:, None].expand(-1, length, -1)


def square_grid(count: int, image_hw: tuple[int, int], stride: int | None = None) -> tuple[int, int] | None:
    """Return the grid (h, w) of ``count`` square patches of an image, None if they do not tile it.

    A known ``stride`` is tried first, as torch.export traces its grid for any image size.
    """
    if stride is not None and (image_hw[0] // stride) * (image_hw[1] // stride) == count:
        return image_hw[0] // stride, image_hw[1] // stride
    patch = (image_hw[0] * image_hw[1] / max(count, 1)) ** 0.5
    grid_hw = round(image_hw[0] / patch), round(image_hw[1] / patch)
    return grid_hw if grid_hw[0] * grid_hw[1] == count else None


def _is_channels_last(model: nn.Module, features: Tensor) -> bool:
    first, last = (features.shape[axis] == model.num_features for axis in (1, 3))
    if first == last:
        return str(getattr(model, "output_fmt", "NCHW")) == "NHWC"
    return last
