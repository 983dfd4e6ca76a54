"""Station 4: the LV-ViT backbone, its side layers for segmentation, and the released weights."""

from mmtl.models.lvvit.backbone import LVViT
from mmtl.models.lvvit.released_weights import convert_released, convert_to_released
from mmtl.models.lvvit.side_layers import SideLayers

__all__ = ["LVViT", "SideLayers", "convert_released", "convert_to_released"]
