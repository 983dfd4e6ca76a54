from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmtl.registry import MODELS

# Upsampling factor of each of the four levels; None passes a level through unchanged.
FORMS: dict[str, tuple[int | None, ...]] = {
    "pyramid": (4, 2, 1, 1),
    "fcn": (None, None, 1, 2),
}


@MODELS.register_module()
class SideLayers(BaseModule):
    """Turn four feature maps of one resolution into the inputs of a segmentation head.

    ``'pyramid'`` gives the strides 4, 8, 16, 16 of UperNet (for 16-pixel patches); ``'fcn'`` passes the first two
    maps through, projects the third and doubles the fourth, the input of an FCN head. An upsampled level is a
    transposed convolution, then a 1x1 convolution; a level of unchanged size only the 1x1 convolution. Convolutions
    have no bias; normalization and ReLU follow each.

    Args:
        in_channels: channels of every input map.
        out_channels: channels of the last output map; the others keep ``in_channels``.
        form: ``'pyramid'`` or ``'fcn'``.
        norm_cfg: normalization after each convolution; None is ``dict(type='BN')``.
        init_cfg: initialization, see ``mmengine.model.BaseModule``.

    Source: the authors' released segmentation backbone.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        form: str = "pyramid",
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if form not in FORMS:
            raise ValueError(f"form must be one of {sorted(FORMS)}, got {form!r}.")
        norm_cfg = norm_cfg or dict(type="BN")
        self.scales = FORMS[form]
        for level, scale in enumerate(self.scales, 1):
            if scale is not None:
                channels = out_channels if level == len(self.scales) else in_channels
                # These names, counted from 1, are the keys of the released checkpoints.
                self.add_module(f"side_layer{level}", _side_layer(in_channels, channels, scale, norm_cfg))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map four maps [B, C, h, w], the shallowest block first, to [B, C, s*h, s*w] with s of the form."""
        if len(inputs) != len(self.scales):
            raise ValueError(
                f"SideLayers needs {len(self.scales)} feature maps, got {len(inputs)}. "
                f"Set {len(self.scales)} out_indices of the backbone."
            )
        levels = enumerate(zip(inputs, self.scales, strict=True), 1)
        return tuple(x if s is None else getattr(self, f"side_layer{i}")(x) for i, (x, s) in levels)


def _side_layer(in_channels: int, out_channels: int, scale: int, norm_cfg: dict) -> nn.Sequential:
    """Build one level: upsample if ``scale`` is above 1, then project."""
    upsample = [nn.ConvTranspose2d(in_channels, in_channels, scale, stride=scale, bias=False)] if scale > 1 else []
    layers = []
    for convolution in (*upsample, nn.Conv2d(in_channels, out_channels, 1, bias=False)):
        layers += [convolution, build_norm_layer(norm_cfg, convolution.out_channels)[1], nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
