"""Any MMPretrain image classifier with a linear head, kept dense.

The neck's pooling and the head see each cell of the last feature map as an image of its own, one cell large:
pooling is then the identity, and the head gives logits for every cell. For global average pooling and a linear
head, the mean of these logits over the cells is the classifier's own output.
"""

import torch
from torch import nn

POOLED_BEFORE_NORM = ("gap_before_final_norm", "gap_before_output")


def tokens_to_map(tokens: torch.Tensor, image_hw: tuple[int, int]) -> torch.Tensor:
    """Patch tokens in row-major order as a map of the image's aspect ratio.

    Args:
        tokens: [B, N, C].
        image_hw: Size of the images in pixels.

    Returns:
        [B, C, h, w] with h * w = N and square patches.

    Raises:
        ValueError: N tokens do not tile such an image.
    """
    batch, count, channels = tokens.shape
    patch = (image_hw[0] * image_hw[1] / count) ** 0.5
    grid_hw = round(image_hw[0] / patch), round(image_hw[1] / patch)
    if grid_hw[0] * grid_hw[1] != count:
        raise ValueError(f"{count} tokens do not tile a {image_hw[0]} x {image_hw[1]} image with square patches.")
    return tokens.transpose(1, 2).reshape(batch, channels, *grid_hw)


class DenseImageClassifier(nn.Module):
    """An MMPretrain classifier whose head is applied at every cell.

    The classifier's backbone is switched to its feature map output; do not use it otherwise afterwards.

    Args:
        classifier: Image classifier with `backbone`, `neck` (or None) and `head`.

    Raises:
        ValueError: A part of the classifier cannot be kept dense.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        if getattr(classifier, "backbone", None) is None or getattr(classifier, "head", None) is None:
            raise ValueError(f"{type(classifier).__name__} cannot be kept dense: it has no backbone and head.")
        self.backbone, self.head = classifier.backbone, classifier.head
        self.cell_norm = _switch_to_feature_map(self.backbone)
        self.map_neck, self.cell_neck = _split_neck(getattr(classifier, "neck", None))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of every cell.

        Args:
            images: Normalised images [B, 3, H, W].

        Returns:
            [B, h, w, K].
        """
        features = self.backbone(images)
        features = features if self.map_neck is None else self.map_neck(features)
        maps = self._last_map(features, tuple(images.shape[-2:]))
        batch, channels, height, width = maps.shape
        cells = self.cell_norm(maps.permute(0, 2, 3, 1).reshape(-1, channels))
        return self._cell_logits(cells).reshape(batch, height, width, -1)

    def _last_map(self, features: object, image_hw: tuple[int, int]) -> torch.Tensor:
        last = features[-1] if isinstance(features, tuple | list) else features
        if isinstance(last, tuple | list):  # feature map beside a class token
            last = next((part for part in last if part.ndim == 4), last[0])
        if last.ndim == 4:
            return last
        if last.ndim == 3 and self._pools_sequences():
            return tokens_to_map(last.transpose(1, 2), image_hw)
        if last.ndim == 3 and not hasattr(self.backbone, "cls_token"):
            return tokens_to_map(last, image_hw)
        raise ValueError(
            f"{type(self.backbone).__name__} cannot be kept dense: its output {list(last.shape)} is pooled"
            " or holds extra tokens, and it has no out_type='featmap'."
        )

    def _pools_sequences(self) -> bool:
        return any(isinstance(module, nn.AdaptiveAvgPool1d) for module in self.cell_neck.modules())

    def _cell_logits(self, cells: torch.Tensor) -> torch.Tensor:
        if len(self.cell_neck):
            cells = self.cell_neck(cells[..., None] if self._pools_sequences() else cells[..., None, None])
        if hasattr(self.head, "token_fc"):  # a model trained with token labels has a classifier of patches
            return self.head.token_fc(cells) if self.head.beta else self.head.fc(cells)
        feature = (cells, cells) if hasattr(getattr(self.head, "layers", None), "head_dist") else cells
        logits = self.head((feature,))
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(cells):
            raise ValueError(f"{type(self.head).__name__} cannot be kept dense: it gives no logits per cell.")
        return logits


def _switch_to_feature_map(backbone: nn.Module) -> nn.Module:
    """Make the backbone return its last map; what it did after pooling is returned, to be done per cell."""
    for flag in POOLED_BEFORE_NORM:
        if getattr(backbone, flag, False):
            setattr(backbone, flag, False)
    out_type = getattr(backbone, "out_type", "featmap")
    if out_type == "featmap":
        return nn.Identity()
    backbone.out_type = "featmap"
    if out_type != "avg_featmap":
        return nn.Identity()
    norm = getattr(backbone, "ln2", None) or getattr(backbone, "norm2", None)
    if norm is None:
        raise ValueError(f"{type(backbone).__name__} cannot be kept dense: its norm after pooling is unknown.")
    return norm


def _split_neck(neck: nn.Module | None) -> tuple[nn.Module | None, nn.Sequential]:
    """Parts of the neck that need the whole map, and those from the pooling on, which see single cells."""
    if neck is None:
        return None, nn.Sequential()
    parts = list(neck) if isinstance(neck, nn.Sequential) else [neck]
    pooling = [place for place, part in enumerate(parts) if "Pool" in type(part).__name__]
    if not pooling:
        raise ValueError(f"{type(neck).__name__} cannot be kept dense: it is no pooling over positions.")
    before = nn.Sequential(*parts[: pooling[0]])
    return before if len(before) else None, nn.Sequential(*parts[pooling[0] :])
