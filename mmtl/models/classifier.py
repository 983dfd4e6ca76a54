"""The classifier that passes token targets and MixToken's draw from the data preprocessor to backbone and head."""

import inspect
import logging
from dataclasses import replace

from mmengine.logging import print_log
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmtl.models.batch_augments.mix_token import MixToken, TokenMix
from mmtl.models.data_preprocessor import TokenLabelDataPreprocessor
from mmtl.models.head import TokenLabelHead
from mmtl.models.lvvit.backbone import LVViT
from mmtl.models.lvvit.loading import prepare_loaded
from mmtl.models.other_backbones import (
    head_in_channels,
    mixed_after_patch_embedding,
    patch_embedding,
    token_stride,
)
from mmtl.models.timm_backbone import TimmBackbone
from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.models.volo import VOLO
from mmtl.registry import BATCH_AUGMENTS, MODELS
from mmtl.utils.checkpoint import unwrapped_init_cfg
from mmtl.utils.compile_or_warn import CompiledOrEager


@MODELS.register_module()
class TokenLabelClassifier(ImageClassifier):
    """An mmpretrain image classifier that can be trained with token labels and MixToken.

    The data preprocessor defaults to :class:`mmtl.TokenLabelDataPreprocessor` and takes the class count from the
    head and the token stride from the backbone, unless its config sets them. So does a :class:`mmtl.TokenLabelHead`
    with ``in_channels``. If the backbone does not take MixToken's
    draw, its tokens are mixed after its patch embedding.

    Args:
        backbone: backbone or its config.
        neck: neck or its config.
        head: head or its config, usually :class:`mmtl.TokenLabelHead`.
        data_preprocessor: data preprocessor or its config.
        annotator: arguments of :class:`mmtl.annotators.online.OnlineAnnotator`: a frozen classifier that labels the
            images of each training step, in place of a score map store. It is loaded when training starts.
        kwargs: further arguments of mmpretrain's ImageClassifier.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        neck: dict | nn.Module | None = None,
        head: dict | nn.Module | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        annotator: dict | None = None,
        **kwargs: object,
    ) -> None:
        backbone, neck = (
            MMPRETRAIN_MODELS.build(part) if isinstance(part, dict) else part for part in (backbone, neck)
        )
        if isinstance(head, dict):
            head = MMPRETRAIN_MODELS.build(_with_in_channels(head, backbone, neck))
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = {"type": TokenLabelDataPreprocessor, **(data_preprocessor or {})}
            kind = data_preprocessor["type"]
            kind = MMPRETRAIN_MODELS.get(kind) if isinstance(kind, str) else kind
            if isinstance(kind, type) and issubclass(kind, TokenLabelDataPreprocessor):
                data_preprocessor.setdefault("num_classes", getattr(head, "num_classes", None))
                if "token_stride" not in data_preprocessor:
                    data_preprocessor["token_stride"] = token_stride(backbone, neck, head)
        super().__init__(backbone, neck, head, data_preprocessor=data_preprocessor, **kwargs)
        self.init_cfg = unwrapped_init_cfg(self.init_cfg)
        self._register_load_state_dict_pre_hook(self._prepare_loaded)
        self.backbone_mixes = "token_mix" in inspect.signature(backbone.forward).parameters
        self._losses = _losses
        channels, mean = getattr(backbone, "in_channels", 3), getattr(self.data_preprocessor, "mean", None)
        if (
            isinstance(backbone, LVViT | VOLO | TimmBackbone)
            and isinstance(mean, Tensor)
            and mean.numel() not in (1, channels)
        ):
            raise ValueError(
                f"data_preprocessor.mean must have one value for each of the {channels} input channels of "
                f"{type(backbone).__name__}, got {mean.numel()}. Set mean and std, or backbone.in_channels."
            )
        if annotator is not None:
            self._use_annotator(annotator)
        augments = getattr(getattr(self.data_preprocessor, "token_augments", None), "augments", [])
        if not self.backbone_mixes:
            augments[:] = [with_patch_embedding(augment, backbone) for augment in augments]

    def _use_annotator(self, annotator: dict) -> None:
        if not isinstance(self.data_preprocessor, TokenLabelDataPreprocessor):
            raise ValueError(
                "model.annotator needs mmtl.TokenLabelDataPreprocessor as model.data_preprocessor, got "
                f"{type(self.data_preprocessor).__name__}. Remove one of them."
            )
        if not isinstance(annotator, dict) or "model" not in annotator:
            raise ValueError(
                "model.annotator must be options with a model, dict(model=...), a config or timm/NAME, got "
                f"{annotator!r}."
            )
        self.data_preprocessor.annotator_cfg = annotator

    def _prepare_loaded(self, state_dict: dict, prefix: str, *args: object) -> None:
        prepare_loaded(self, state_dict, prefix)

    def compile_training(self, **options: object) -> None:
        """Compile the losses as one graph from the preprocessed images: backbone, neck and head.

        The data preprocessor stays outside, so new draws and masks compile nothing; a smaller last batch, or a batch
        without score maps, compiles once more. Without a working compiler the first step warns and continues eager.
        ``options`` are those of ``torch.compile``.
        """
        self._losses = CompiledOrEager(_losses, options)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = "tensor",
        targets: BatchTargets | None = None,
        token_mix: TokenMix | None = None,
    ) -> Tensor | list[DataSample] | dict[str, Tensor]:
        """Run mmpretrain's ImageClassifier; in mode 'loss' with the preprocessor's targets and MixToken's draw.

        Args:
            inputs: images [B, 3, H, W].
            data_samples: labels and meta information of the images; in mode 'loss' only used without ``targets``.
            mode: 'tensor' (prediction logits [B, K]), 'predict' (data samples) or 'loss'.
            targets: labels of class and patch tokens.
            token_mix: MixToken's draw for this batch.
        """
        if mode != "loss":
            return super().forward(inputs, data_samples, mode)
        if targets is not None and isinstance(self.head, TokenLabelHead):
            # Ranks communicate for it, which a compiled graph had better not do.
            targets = replace(targets, rank_weight=self.head.rank_weight(targets, inputs.device))
        if token_mix is None or self.backbone_mixes:
            return self._losses(self, inputs, data_samples, targets, token_mix)
        with mixed_after_patch_embedding(self.backbone, token_mix):  # would break a compiled graph if it were inside
            return self._losses(self, inputs, data_samples, targets, None)


def _with_in_channels(head: dict, backbone: nn.Module, neck: nn.Module | None) -> dict:
    """Return the config of a head; a TokenLabelHead gets the channels of the features if it has none."""
    kind = MMPRETRAIN_MODELS.get(head["type"]) if isinstance(head["type"], str) else head["type"]
    is_ours = isinstance(kind, type) and issubclass(kind, TokenLabelHead)
    if not is_ours or head.get("in_channels") is not None:
        return head
    return {**head, "in_channels": head_in_channels(backbone, neck, head.get("channels_first", False))}


def with_patch_embedding(augment: object, backbone: nn.Module) -> object:
    """Return a batch augment; for a backbone without patch embedding, the fallback of MixToken or an error."""
    if not isinstance(augment, MixToken):
        return augment
    try:
        patch_embedding(backbone)
    except ValueError as error:
        if augment.fallback is None:
            raise
        fallback = BATCH_AUGMENTS.build(augment.fallback)
        reason = str(error).partition(". ")[0]
        message = f"{reason}. {type(fallback).__name__} replaces it, as the config says."
        print_log(message, logger="current", level=logging.WARNING)
        return fallback
    return augment


def _losses(
    model: TokenLabelClassifier,
    inputs: Tensor,
    data_samples: list[DataSample] | None,
    targets: BatchTargets | None,
    token_mix: TokenMix | None,
) -> dict[str, Tensor]:
    """Compute the losses. Not a method: a copy of a compiled model (EMA) must not use the original's weights."""
    feats = model.backbone(inputs) if token_mix is None else model.backbone(inputs, token_mix)
    if model.with_neck:
        feats = model.neck(feats)
    return model.head.loss(feats, data_samples, targets)
