"""``mmtl.EncoderDecoder`` and ``mmtl.SegDataPreProcessor``, which import MMSegmentation when a config uses them."""

from typing import Any

from mmengine.registry import DefaultScope
from torch import nn

from mmtl.registry import MODELS


@MODELS.register_module(name="EncoderDecoder")
def build_segmentor(**kwargs: Any) -> nn.Module:
    """Return :class:`mmtl.models.segmentor.EncoderDecoder` with these arguments."""
    from mmtl.models.segmentor import EncoderDecoder

    with DefaultScope.overwrite_default_scope("mmseg"):  # MMPretrain's `get_model` builds it in its own scope
        return EncoderDecoder(**kwargs)


@MODELS.register_module(name="SegDataPreProcessor")
def build_segmentation_preprocessor(**kwargs: Any) -> nn.Module:
    """Return :class:`mmtl.models.segmentor.SegDataPreProcessor` with these arguments."""
    from mmtl.models.segmentor import SegDataPreProcessor

    return SegDataPreProcessor(**kwargs)
