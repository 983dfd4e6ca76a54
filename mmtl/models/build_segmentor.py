"""``type='mmtl.EncoderDecoder'``, which imports MMSegmentation only when a config uses it."""

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
