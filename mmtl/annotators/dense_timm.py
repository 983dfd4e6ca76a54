"""Dense prediction with any timm model that has a linear head.

``forward_head`` processes each cell as an image: a feature map of one cell, or a sequence in which every token, the
class token included, is that cell. Any pooling is then the identity.
"""

import torch
from torch import nn

from mmtl.annotators.annotator import not_dense
from mmtl.annotators.dense_mmpretrain import square_grid, tokens_to_map


class DenseTimmModel(nn.Module):
    """A timm model with ``forward_features`` and ``forward_head``, whose head is applied at every cell.

    Raises:
        ValueError: A layer between features and logits mixes positions.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not hasattr(model, "forward_features") or not hasattr(model, "forward_head"):
            raise not_dense(model, "it has no forward_features and forward_head.")
        if getattr(model, "attn_pool", None) is not None:
            raise not_dense(model, f"its layer attn_pool ({type(model.attn_pool).__name__}) mixes all positions.")
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits [B, h, w, K] of normalized images [B, 3, H, W]."""
        features = self.model.forward_features(images)
        if not isinstance(features, torch.Tensor) or features.ndim not in (3, 4):
            raise not_dense(self.model, "its features are not a single map.")
        if features.ndim == 3:
            image_hw = tuple(images.shape[-2:])
            prefix = self._num_prefix_tokens(features.shape[1], image_hw)
            maps = tokens_to_map(features[:, prefix:], image_hw).permute(0, 2, 3, 1)  # [B, h, w, C]
            cells = maps.flatten(0, 2)[:, None].expand(-1, max(prefix, 1) + 1, -1)
        elif self._is_channels_last(features):
            maps = features
            cells = maps.flatten(0, 2)[:, None, None]
        else:
            maps = features.permute(0, 2, 3, 1)
            cells = maps.flatten(0, 2)[..., None, None]
        return self._head(cells).reshape(*maps.shape[:3], -1)

    def _num_prefix_tokens(self, count: int, image_hw: tuple[int, int]) -> int:
        """Return the number of class and register tokens: the model's own, or else the surplus over a grid."""
        stated = getattr(self.model, "num_prefix_tokens", None)
        for prefix in (stated,) if stated is not None else range(3):
            if count - prefix > 1 and square_grid(count - prefix, image_hw):
                return prefix
        raise not_dense(self.model, f"its {count} tokens do not tile a {image_hw[0]} x {image_hw[1]} image.")

    def _is_channels_last(self, features: torch.Tensor) -> bool:
        first, last = (features.shape[axis] == self.model.num_features for axis in (1, 3))
        if first == last:
            return str(getattr(self.model, "output_fmt", "NCHW")) == "NHWC"
        return last

    def _head(self, cells: torch.Tensor) -> torch.Tensor:
        logits = self.model.forward_head(cells)
        logits = logits[0] if isinstance(logits, tuple) else logits
        if logits.shape[0] != len(cells) or logits.ndim != 2:
            head = type(getattr(self.model, "head", self.model)).__name__
            raise not_dense(self.model, f"its {head} does not give logits per cell.")
        return logits
