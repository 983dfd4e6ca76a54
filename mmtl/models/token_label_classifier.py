"""The classifier that carries token targets and MixToken's draw from the data preprocessor to backbone and head."""

from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmtl.models.batch_targets import BatchTargets
from mmtl.models.mix_token import TokenMix
from mmtl.registry import MODELS


@MODELS.register_module()
class TokenLabelClassifier(ImageClassifier):
    """An mmpretrain image classifier that can be trained with token labels and MixToken.

    The data preprocessor defaults to :class:`mmtl.TokenLabelDataPreprocessor` and takes the class count from the
    head and the token stride from the backbone's patch size, where its config does not give them.

    Args:
        backbone: backbone or its config.
        neck: neck or its config.
        head: head or its config, usually :class:`mmtl.TokenLabelHead`.
        data_preprocessor: data preprocessor or its config.
        kwargs: further arguments of mmpretrain's ImageClassifier.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        neck: dict | nn.Module | None = None,
        head: dict | nn.Module | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        **kwargs: object,
    ) -> None:
        if isinstance(backbone, dict):
            backbone = MMPRETRAIN_MODELS.build(backbone)
        if isinstance(head, dict):
            head = MMPRETRAIN_MODELS.build(head)
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = {"type": "mmtl.TokenLabelDataPreprocessor", **(data_preprocessor or {})}
            if data_preprocessor["type"] == "mmtl.TokenLabelDataPreprocessor":
                data_preprocessor.setdefault("num_classes", getattr(head, "num_classes", None))
                data_preprocessor.setdefault("token_stride", getattr(backbone, "patch_size", None))
        super().__init__(backbone, neck, head, data_preprocessor=data_preprocessor, **kwargs)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = "tensor",
        targets: BatchTargets | None = None,
        token_mix: TokenMix | None = None,
    ) -> Tensor | list[DataSample] | dict[str, Tensor]:
        """As mmpretrain's ImageClassifier; in mode 'loss' with the preprocessor's targets and MixToken's draw.

        Args:
            inputs: images [B, 3, H, W].
            data_samples: labels and meta information of the images.
            mode: 'tensor' (prediction logits [B, K]), 'predict' (data samples) or 'loss'.
            targets: labels of class and patch tokens.
            token_mix: MixToken's draw for this batch.
        """
        if mode != "loss":
            return super().forward(inputs, data_samples, mode)
        feats = self.backbone(inputs) if token_mix is None else self.backbone(inputs, token_mix)
        if self.with_neck:
            feats = self.neck(feats)
        return self.head.loss(feats, data_samples, targets)
