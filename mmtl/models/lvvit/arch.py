"""The LV-ViT family: settings of a named architecture, and the architecture of a checkpoint."""

import re
from collections.abc import Mapping

from torch import Tensor

ARCH_KEYS = ("embed_dims", "num_layers", "num_heads", "feedforward_channels", "stem_channels", "residual_divisor")
# Paper, table 1, and the released code (residual divisor); the MLP ratio is 3 throughout.
ARCHS = {
    name: dict(zip(ARCH_KEYS, values, strict=True))
    for name, values in {
        "tiny": (240, 12, 4, 720, 64, 1),
        "small": (384, 16, 6, 1152, 64, 2),
        "medium": (512, 20, 8, 1536, 64, 2),
        "large": (768, 24, 12, 2304, 128, 3),
    }.items()
}
# Number of heads and residual divisor do not show in the shapes of the weights.
SHAPE_KEYS = ("embed_dims", "num_layers", "feedforward_channels", "stem_channels")


def arch_settings(arch: str | dict) -> dict:
    """Return the settings of a named architecture, or a checked copy of the user's own with all ``ARCH_KEYS``."""
    if isinstance(arch, str) and arch in ARCHS:
        return ARCHS[arch]
    if not isinstance(arch, dict):
        raise ValueError(f"arch of LVViT must be one of {', '.join(map(repr, ARCHS))} or a dict, got {arch!r}.")
    if set(arch) != set(ARCH_KEYS):
        missing, unknown = sorted(set(ARCH_KEYS) - set(arch)), sorted(set(arch) - set(ARCH_KEYS))
        raise ValueError(
            f"arch of LVViT must have the keys {', '.join(ARCH_KEYS)}; missing {missing}, unknown {unknown}."
        )
    wrong = []
    for key in ARCH_KEYS[:-1]:
        is_direct = key == "stem_channels" and arch[key] is None  # patches of the image are projected directly
        if not is_direct and (type(arch[key]) is not int or arch[key] < 1):
            wrong.append(f"{key}={arch[key]}")
    if wrong:
        raise ValueError(f"Sizes of LVViT must be integers of at least 1, got {', '.join(wrong)}.")
    divisor = arch["residual_divisor"]
    if not isinstance(divisor, int | float) or not divisor > 0:
        raise ValueError(f"residual_divisor of LVViT must be a number above 0, got {divisor!r}.")
    return dict(arch)


def arch_of_weights(weights: Mapping[str, Tensor], prefix: str = "") -> dict:
    """Return those of ``SHAPE_KEYS`` that the shapes of a checkpoint's weights under a prefix determine.

    Without blocks or position embedding none is known.
    """
    shapes = {key.removeprefix(prefix): x.shape for key, x in weights.items() if key.startswith(prefix)}
    layers = [int(match[1]) for key in shapes if (match := re.match(r"blocks\.(\d+)\.", key))]
    if not layers or "pos_embed" not in shapes:
        return {}
    feedforward = [shape[0] for key, shape in shapes.items() if key.endswith("mlp.fc1.weight")]
    found = dict(embed_dims=shapes["pos_embed"][-1], num_layers=max(layers) + 1)
    if feedforward:
        found["feedforward_channels"] = feedforward[0]
    return found | dict(stem_channels=shapes.get("patch_embed.conv1.weight", [None])[0])


def describe_arch(settings: dict) -> str:
    """Return an architecture in words, with its name if the shapes are those of the family."""
    shape = {key: settings[key] for key in SHAPE_KEYS if key in settings}
    for name, known in ARCHS.items():
        if shape.items() <= known.items():
            return f"LV-ViT arch {name!r}"
    return f"an arch with {', '.join(f'{key} {value}' for key, value in shape.items())}"
