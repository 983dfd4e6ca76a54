"""MMSegmentation's segmentor for backbones of patches. Only :mod:`mmtl.models.build_segmentor` imports this module."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models import EncoderDecoder as MMSegEncoderDecoder
from mmseg.models import SegDataPreProcessor as MMSegDataPreProcessor
from torch import Tensor

from mmtl.models.lvvit.loading import prepare_loaded
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
    by the data preprocessor would shift the last windows into the padding.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_cfg = unwrapped_init_cfg(self.init_cfg)
        self._register_load_state_dict_pre_hook(self._prepare_loaded)

    def _prepare_loaded(self, state_dict: dict, prefix: str, *args: object) -> None:
        prepare_loaded(self, state_dict, prefix)

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return the logits [B, K, H, W] of images or windows [B, 3, H, W] of any size."""
        height, width = inputs.shape[2:]
        divisor = self.test_cfg.get("size_divisor", 1)
        padded = F.pad(inputs, (0, -width % divisor, 0, -height % divisor))
        metas = [{**batch_img_metas[0], "img_shape": padded.shape[2:]}]  # a torch.Size: heads prefer it to "pad_shape"
        return super().encode_decode(padded, metas)[..., :height, :width]
