"""Dense prediction with any timm model that has a linear head.

``forward_head`` processes each cell as an image: a feature map of one cell, or a sequence in which every token, the
class token included, is that cell. Any pooling is then the identity.
"""

import torch
from torch import nn

from mmtl.annotators.annotator import not_dense
from mmtl.models.timm_features import patch_map


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
        try:
            cells, one_patch = patch_map(self.model, features, tuple(images.shape[-2:]))
        except ValueError as error:
            raise not_dense(self.model, f"{error}.") from None
        return self._head(one_patch(cells.flatten(0, 2))).reshape(*cells.shape[:3], -1)

    def _head(self, cells: torch.Tensor) -> torch.Tensor:
        logits = self.model.forward_head(cells)
        logits = logits[0] if isinstance(logits, tuple) else logits
        if logits.shape[0] != len(cells) or logits.ndim != 2:
            head = type(getattr(self.model, "head", self.model)).__name__
            raise not_dense(self.model, f"its {head} does not give logits per cell.")
        return logits
