from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmtl.registry import MODELS

# Enlargement of each of the four levels; None leaves a level as it comes from the backbone.
FORMS: dict[str, tuple[int | None, ...]] = {
    "pyramid": (4, 2, 1, 1),
    "fcn": (None, None, 1, 2),
}


@MODELS.register_module()
class SideLayers(BaseModule):
    """Turn four feature maps of one resolution into the inputs of a segmentation head.

    ``'pyramid'`` gives the strides 4, 8, 16, 16 that UperNet takes (for 16-pixel patches); ``'fcn'`` keeps
    the first two maps, projects the third and doubles the fourth, which an FCN head reads. An enlarged level
    is a transposed convolution, then a 1x1 convolution; a level that keeps its size is the 1x1 convolution
    alone. Convolutions have no bias; normalisation and ReLU follow each.

    Args:
        in_channels: Channels of every input map.
        out_channels: Channels of the last output map; the others keep ``in_channels``.
        form: ``'pyramid'`` or ``'fcn'``.
        norm_cfg: Normalisation after each convolution; None is ``dict(type='BN')``.
        init_cfg: Initialisation, see ``mmengine.model.BaseModule``.

    Raises:
        ValueError: If the form is not known.

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
            raise ValueError(f"form={form!r} is not known; choose one of {sorted(FORMS)}")
        norm_cfg = norm_cfg or dict(type="BN")
        self.scales = FORMS[form]
        last = len(self.scales)
        for level, scale in enumerate(self.scales, 1):
            if scale is not None:
                channels = out_channels if level == last else in_channels
                # Attributes of these names, counted from 1, carry the released checkpoints' keys.
                self.add_module(f"side_layer{level}", _side_layer(in_channels, channels, scale, norm_cfg))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Project and enlarge the four maps.

        Args:
            inputs: Four maps [B, C, h, w], the shallowest block first.

        Returns:
            Four maps [B, C, s*h, s*w] with s of the form; the last one has ``out_channels`` channels.

        Raises:
            ValueError: If there are not four maps.
        """
        if len(inputs) != len(self.scales):
            raise ValueError(
                f"SideLayers takes {len(self.scales)} feature maps, got {len(inputs)}; "
                f"give the backbone {len(self.scales)} out_indices"
            )
        levels = enumerate(zip(inputs, self.scales, strict=True), 1)
        return tuple(x if s is None else getattr(self, f"side_layer{i}")(x) for i, (x, s) in levels)


def _side_layer(in_channels: int, out_channels: int, scale: int, norm_cfg: dict) -> nn.Sequential:
    """One level: enlarge when ``scale`` is above 1, then project."""
    layers: list[nn.Module] = []
    if scale > 1:
        layers.append(nn.ConvTranspose2d(in_channels, in_channels, scale, stride=scale, bias=False))
        layers += [build_norm_layer(norm_cfg, in_channels)[1], nn.ReLU(inplace=True)]
    layers.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
    layers += [build_norm_layer(norm_cfg, out_channels)[1], nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
