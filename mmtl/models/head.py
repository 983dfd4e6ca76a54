"""The head of token labeling: one linear classifier for the class token, one for the patch tokens."""

from collections.abc import Sequence

import torch
from mmengine.model import constant_init
from mmpretrain.models.heads import ClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmtl.models.collate import single_labels
from mmtl.models.token_labels.accuracy import token_accuracy
from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.models.token_labels.loss import rank_weight, token_label_loss
from mmtl.models.token_labels.targets import TokenTargets
from mmtl.registry import MODELS


@MODELS.register_module()
class TokenLabelHead(ClsHead):
    """Classify the class token and every patch token.

    Takes tokens [B, 1 + N, C] with the class token first, or a feature map [B, C, h, w], whose mean serves as class
    token, so that CNNs and hierarchical transformers can be trained with token labels as well.
    Tokens without a class token are a feature map, too: set ``channels_first`` for [B, C, N].

    Args:
        num_classes: K.
        in_channels: C. :class:`mmtl.TokenLabelClassifier` takes it from the backbone if it is None.
        beta: weight of the patch tokens' loss. 0 trains on the class token only.
        class_weight: K weights of the classes in both losses, for rare classes: a token counts by the mean weight of
            its label's classes, so that one-hot labels are weighted as by ``torch.nn.CrossEntropyLoss``.
        predict_weight: weight w of the patch tokens in the prediction, class logits + w * max over patches of the
            patch logits. None means 0.5, or 0 when ``beta`` is 0, as the patch classifier is not trained then.
        patch_target: 'map': each patch token learns its label of the score map. 'label': the mean of the patch tokens
            learns the class label, so that the patch classifier becomes a labeler of patches by itself (phase 1 of
            self-emerging token labeling); score maps are not used.
        channels_first: whether three-dimensional features are patch tokens [B, C, N], as mmpretrain's MlpMixer gives.
        init_cfg: weight initialization, see mmengine.

    Source: paper, section 3.1 (beta = 0.5); released code (prediction); Zhao et al., arXiv 2401.03844
    (``patch_target='label'``).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int | None = None,
        beta: float = 0.5,
        predict_weight: float | None = None,
        channels_first: bool = False,
        patch_target: str = "map",
        class_weight: Sequence[float] | None = None,
        init_cfg: dict | None = dict(type="TruncNormal", layer="Linear", std=0.02),  # noqa: B006
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_classes < 1 or beta < 0:
            raise ValueError(f"TokenLabelHead needs num_classes > 0 and beta >= 0, got {num_classes} and {beta}.")
        if patch_target not in ("map", "label"):
            raise ValueError(f"patch_target must be 'map' or 'label', got {patch_target!r}.")
        if in_channels is None:
            raise ValueError(
                "in_channels of TokenLabelHead must be the channels of a token, got None. Only "
                "mmtl.TokenLabelClassifier finds them, if the head is a config."
            )
        self.num_classes, self.beta, self.channels_first = num_classes, beta, channels_first
        self.patch_target = patch_target
        self.predict_weight = (0.5 if beta else 0.0) if predict_weight is None else predict_weight
        if class_weight is not None and (len(class_weight) != num_classes or min(class_weight) < 0):
            raise ValueError(f"class_weight must be {num_classes} numbers of at least 0, got {class_weight}.")
        weights = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer("class_weight", weights, persistent=False)
        self.fc = nn.Linear(in_channels, num_classes)
        self.token_fc = nn.Linear(in_channels, num_classes).requires_grad_(beta > 0)

    def init_weights(self) -> None:
        """Initialize as mmengine does; an unused patch classifier is zero, so that a release omits it."""
        super().init_weights()
        if not self.beta and not self.predict_weight:
            constant_init(self.token_fc, 0)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Split the last feature into class token [B, C] and patch tokens [B, N, C]."""
        feature = feats[-1]
        if feature.ndim == 4 or (self.channels_first and feature.ndim == 3):
            patches = feature.flatten(2).transpose(1, 2)  # [B, N, C]
            return patches.mean(1), patches
        if feature.ndim != 3 or feature.shape[-1] != self.fc.in_features:
            raise ValueError(
                f"TokenLabelHead takes tokens [B, 1 + N, {self.fc.in_features}] (out_type='raw') or a feature map "
                f"[B, {self.fc.in_features}, h, w] (out_type='featmap', no pooling neck), got {list(feature.shape)}. "
                "For patch tokens [B, C, N] set channels_first=True."
            )
        return feature[:, 0], feature[:, 1:]  # of [B, 1 + N, C]

    def head_logits(self, feats: tuple[Tensor, ...], with_patches: bool) -> tuple[Tensor, Tensor | None]:
        """Compute the logits [B, K] of the class token and, if requested, their maximum over patch tokens."""
        class_token, patch_tokens = self.pre_logits(feats)
        return self.fc(class_token), self.token_fc(patch_tokens).amax(1) if with_patches else None

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Compute the prediction logits [B, K] from the backbone's (or neck's) features."""
        return self._combine(*self.head_logits(feats, bool(self.predict_weight)))

    def _combine(self, class_logits: Tensor, patch_logits: Tensor | None) -> Tensor:
        return class_logits + self.predict_weight * patch_logits if self.predict_weight else class_logits

    def predict(
        self, feats: tuple[Tensor, ...], data_samples: list[DataSample | None] | None = None
    ) -> list[DataSample]:
        """Predict as mmpretrain's ClsHead does, and add what each of the two classifiers predicts.

        Returns:
            list: samples with ``pred_score``, ``pred_label``, ``class_token_label`` and, where the patch classifier
            is trained or used, ``patch_tokens_label``; see :class:`mmtl.HeadAccuracy`.
        """
        class_logits, patch_logits = self.head_logits(feats, bool(self.beta or self.predict_weight))
        samples = self._get_predictions(self._combine(class_logits, patch_logits), data_samples)
        for index, sample in enumerate(samples):
            sample.set_field(class_logits[index].argmax(-1, keepdim=True), "class_token_label", dtype=Tensor)
            if patch_logits is not None:
                sample.set_field(patch_logits[index].argmax(-1, keepdim=True), "patch_tokens_label", dtype=Tensor)
        return samples

    def loss(
        self, feats: tuple[Tensor, ...], data_samples: list[DataSample], targets: BatchTargets | None = None
    ) -> dict[str, Tensor]:
        """Compute L_cls + beta * L_tl of the paper.

        Args:
            feats: the backbone's (or neck's) features; the last one is used.
            data_samples: their ``gt_label`` is used when there are no targets.
            targets: from :class:`mmtl.TokenLabelDataPreprocessor`.

        Returns:
            dict: 'loss_cls' and, with beta > 0, 'loss_token' (beta included; 0 in a batch without score maps); for the
            log 'accuracy_class_token' and, with score maps, 'accuracy_patch_tokens', in percent.
        """
        if targets is None:
            labels = single_labels(data_samples).to(feats[-1].device)
            targets = BatchTargets(TokenTargets.from_labels(labels, self.num_classes), None, None)
        class_token, patch_tokens = self.pre_logits(feats)
        class_logits = self.fc(class_token)
        weighted = targets if self.class_weight is None else targets.by_class(self.class_weight)
        losses = {"loss_cls": token_label_loss(class_logits, weighted.class_token)}
        logs = {"accuracy_class_token": token_accuracy(class_logits, targets.class_token)}
        if not self.beta:
            return losses | logs
        if self.patch_target == "label":
            mean_logits = self.token_fc(patch_tokens.mean(1))  # the mean of the patches' logits
            losses["loss_token"] = self.beta * token_label_loss(mean_logits, weighted.class_token)
            logs["accuracy_patch_tokens"] = token_accuracy(mean_logits, targets.class_token)
            return losses | logs
        if targets.patch_tokens is None:
            # Distributed training needs every parameter in the graph, also in a batch without score maps.
            losses["loss_token"] = 0.0 * self.token_fc(patch_tokens[:, :1]).sum()
        else:
            patch_logits = self.token_fc(patch_tokens)
            losses["loss_token"] = self.beta * token_label_loss(patch_logits, weighted.patch_tokens)
            logs["accuracy_patch_tokens"] = token_accuracy(patch_logits, targets.patch_tokens)
        losses["loss_token"] *= self.rank_weight(targets, patch_tokens.device)
        return losses | logs

    def rank_weight(self, targets: BatchTargets, device: torch.device) -> Tensor | float:
        """Return the weight of this rank's token loss; a compiled step has it computed beforehand."""
        if targets.rank_weight is not None or not self.beta or self.patch_target == "label":
            return targets.rank_weight
        targets = targets if self.class_weight is None else targets.by_class(self.class_weight)
        return rank_weight(None if targets.patch_tokens is None else targets.patch_tokens.row_weights, device)
