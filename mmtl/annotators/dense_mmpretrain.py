"""Dense prediction with any MMPretrain image classifier that has a linear head.

The neck's pooling and the head process each cell of the last feature map as a one-cell image: pooling is then the
identity, and the head gives logits for every cell. With global average pooling and a linear head, the mean of these
logits over the cells equals the classifier's output.
"""

import torch
from torch import nn

from mmtl.annotators.annotator import not_dense
from mmtl.models.timm_features import square_grid

POOLED_BEFORE_NORM = ("gap_before_final_norm", "gap_before_output")


def tokens_to_map(tokens: torch.Tensor, image_hw: tuple[int, int]) -> torch.Tensor:
    """Arrange patch tokens [B, N, C] in row-major order as maps [B, C, h, w] with the images' aspect ratio.

    Raises:
        ValueError: N square patches do not tile an image of this size.
    """
    grid_hw = square_grid(tokens.shape[1], image_hw)
    if grid_hw is None:
        size = " x ".join(map(str, image_hw))
        raise ValueError(f"{tokens.shape[1]} tokens do not tile a {size} image with square patches.")
    return tokens.transpose(1, 2).unflatten(2, grid_hw)


class DenseImageClassifier(nn.Module):
    """An MMPretrain classifier whose head is applied at every cell.

    The classifier's backbone is switched to its feature map output and must not be used otherwise afterwards.

    Raises:
        ValueError: A part of the classifier cannot be converted to dense prediction.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        if getattr(classifier, "backbone", None) is None or getattr(classifier, "head", None) is None:
            raise not_dense(classifier, "it has no backbone and head.")
        self.backbone, self.head = classifier.backbone, classifier.head
        self.cell_norm = _switch_to_feature_map(self.backbone)
        self.map_neck, self.cell_neck = _split_neck(getattr(classifier, "neck", None))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, h, w, K] of normalized images [B, 3, H, W]."""
        maps = self._last_map(self.map_neck(self.backbone(images)), tuple(images.shape[-2:]))
        cells = maps.permute(0, 2, 3, 1)
        logits = self._cell_logits(self.cell_norm(cells.flatten(0, 2)))
        return logits.reshape(*cells.shape[:3], -1)

    def _last_map(self, features: object, image_hw: tuple[int, int]) -> torch.Tensor:
        last = features[-1] if isinstance(features, tuple | list) else features
        if isinstance(last, tuple | list):  # a feature map beside a class token
            last = next((part for part in last if part.ndim == 4), last[0])
        if last.ndim == 4:
            return last
        if last.ndim == 3 and self._pools_sequences():
            return tokens_to_map(last.transpose(1, 2), image_hw)
        if last.ndim == 3 and not hasattr(self.backbone, "cls_token"):
            return tokens_to_map(last, image_hw)
        reason = f"its output {list(last.shape)} is pooled or has extra tokens, and it has no out_type='featmap'."
        raise not_dense(self.backbone, reason)

    def _pools_sequences(self) -> bool:
        return any(isinstance(module, nn.AdaptiveAvgPool1d) for module in self.cell_neck.modules())

    def _cell_logits(self, cells: torch.Tensor) -> torch.Tensor:
        if len(self.cell_neck):
            cells = self.cell_neck(cells[..., None] if self._pools_sequences() else cells[..., None, None])
        if hasattr(self.head, "token_fc"):  # trained with token labels: it has a classifier of patches
            return self.head.token_fc(cells) if self.head.beta else self.head.fc(cells)
        feature = (cells, cells) if hasattr(getattr(self.head, "layers", None), "head_dist") else cells
        logits = self.head((feature,))
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(cells):
            raise not_dense(self.head, "it does not give logits per cell.")
        return logits


def _switch_to_feature_map(backbone: nn.Module) -> nn.Module:
    """Make the backbone return its last map, and return its norm after pooling, to be applied per cell."""
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
        raise not_dense(backbone, "its norm after pooling is unknown.")
    return norm


def _split_neck(neck: nn.Module | None) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the parts of the neck that need the full map, and those from the pooling on, which see single cells."""
    if neck is None:
        return nn.Sequential(), nn.Sequential()
    parts = list(neck) if isinstance(neck, nn.Sequential) else [neck]
    pooling = next((index for index, part in enumerate(parts) if "Pool" in type(part).__name__), None)
    if pooling is None:
        raise not_dense(neck, "it is not a pooling over positions.")
    return nn.Sequential(*parts[:pooling]), nn.Sequential(*parts[pooling:])
