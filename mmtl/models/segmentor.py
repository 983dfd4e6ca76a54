"""MMSegmentation's segmentor for backbones of patches. Only :mod:`mmtl.models.build_segmentor` imports this module."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models import EncoderDecoder as MMSegEncoderDecoder
from mmseg.models import SegDataPreProcessor as MMSegDataPreProcessor
from mmseg.registry import MODELS
from torch import Tensor

from mmtl.models.lvvit.loading import prepare_loaded
from mmtl.models.other_backbones import map_shapes
from mmtl.utils.checkpoint import unwrapped_init_cfg


class SegDataPreProcessor(MMSegDataPreProcessor):
    """MMSegmentation's SegDataPreProcessor for images of any number of channels, of which MMEngine takes 1 or 3.

    Args:
        mean: mean of each channel.
        std: standard deviation of each channel.
        **kwargs: of the parent.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._enable_normalize = True
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1), persistent=False)


class EncoderDecoder(MMSegEncoderDecoder):
    """MMSegmentation's EncoderDecoder that pads test images to full patches and loads released weights.

    With ``test_cfg.mode='slide'`` the windows are those of the unpadded image, and only a window whose sides are not
    multiples of ``test_cfg.size_divisor`` (the image is smaller than the window) is padded, right and bottom. Padding
    by the data preprocessor would shift the last windows into the padding. A backbone of one image size only, such as
    timm's BEiT, gets smaller windows padded to it.

    Heads without ``in_channels`` get the channels of the backbone's maps at their ``in_index``; None means all maps. A
    Feature2Pyramid without ``embed_dim`` makes a pyramid of the maps of a plain transformer, and is omitted for a
    backbone whose maps are one already.
    """

    def __init__(self, neck: dict | list[dict] | None = None, **kwargs: Any) -> None:
        is_free = isinstance(neck, dict) and neck["type"] == "Feature2Pyramid" and "embed_dim" not in neck
        self._pyramid = neck if is_free else None
        super().__init__(neck=None if self._pyramid else neck, **kwargs)
        self.init_cfg = unwrapped_init_cfg(self.init_cfg)
        self._register_load_state_dict_pre_hook(self._prepare_loaded)

    def _prepare_loaded(self, state_dict: dict, prefix: str, *args: object) -> None:
        prepare_loaded(self, state_dict, prefix)

    def _init_decode_head(self, decode_head: dict) -> None:
        if self._pyramid is not None:
            channels, strides = map_shapes(self.backbone, None)
            if len(set(strides)) == 1:
                self.neck = MODELS.build({**self._pyramid, "embed_dim": channels[0]})
        super()._init_decode_head(self._with_in_channels(decode_head))

    def _init_auxiliary_head(self, auxiliary_head: dict | list[dict] | None) -> None:
        if isinstance(auxiliary_head, list):
            auxiliary_head = [self._with_in_channels(head) for head in auxiliary_head]
        elif auxiliary_head is not None:
            auxiliary_head = self._with_in_channels(auxiliary_head)
        super()._init_auxiliary_head(auxiliary_head)

    def _with_in_channels(self, head: dict) -> dict:
        if head.get("in_channels") is not None:
            return head
        channels = map_shapes(self.backbone, self.neck if self.with_neck else None)[0]
        index = head.get("in_index")
        index = list(range(len(channels))) if index is None else index
        selected = channels[index] if isinstance(index, int) else [channels[i] for i in index]
        return {**head, "in_index": index, "in_channels": selected}

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return the logits [B, K, H, W] of images or windows [B, 3, H, W] of any size."""
        height, width = inputs.shape[2:]
        divisor = self.test_cfg.get("size_divisor", 1)
        least = self.backbone.img_size if getattr(self.backbone, "has_fixed_size", False) else (0, 0)
        bottom, right = (max(-a % divisor, b - a) for a, b in zip((height, width), least, strict=True))
        padded = F.pad(inputs, (0, right, 0, bottom))
        metas = [{**batch_img_metas[0], "img_shape": padded.shape[2:]}]  # a torch.Size: heads prefer it to "pad_shape"
        return super().encode_decode(padded, metas)[..., :height, :width]
