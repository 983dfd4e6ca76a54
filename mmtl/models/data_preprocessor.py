"""Station 3: one batch on the device, with token targets read from the score maps and mixed with the images."""

from collections.abc import Sequence

import torch
from mmpretrain.models.utils import ClsDataPreprocessor, RandomBatchAugment
from mmpretrain.models.utils.batch_augments import CutMix as PixelCutMix
from mmpretrain.structures import DataSample
from torch import Tensor

from mmtl.models.batch_augments.cut_mix import CutMix
from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.models.token_labels.checks import check_options
from mmtl.models.token_labels.targets import TokenTargets, token_targets
from mmtl.registry import MODELS


@MODELS.register_module()
class TokenLabelDataPreprocessor(ClsDataPreprocessor):
    """Normalises images, builds the targets of class and patch tokens, applies the batch augments.

    In training it returns ``inputs``, ``data_samples`` and ``targets``, and ``token_mix`` when MixToken was drawn.
    A batch without score maps, or without any for some images, trains those images on their class label alone.

    Args:
        num_classes: K.
        token_stride: pixels of the input per token, the patch size of a ViT. Needed with score maps or MixToken.
        class_target: what the class token learns: 'label', 'map' (the score map pooled over the crop) or
            'released' (a blend, see :meth:`TokenTargets.ground_truth`).
        tail: see :func:`token_targets`.
        smoothing: label smoothing of class and patch targets.
        outside: see :func:`token_targets`.
        batch_augments: ``dict(augments=[...], probs=[...])``, see mmpretrain: mmtl's MixToken and CutMix, mmpretrain's
            Mixup, and without score maps every one of mmpretrain's.
        kwargs: mean, std, to_rgb and the like, see mmpretrain's ClsDataPreprocessor.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        token_stride: int | None = None,
        class_target: str = "label",
        tail: str = "zero_logit",
        smoothing: float = 0.0,
        outside: str = "uniform",
        batch_augments: dict | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(num_classes=num_classes, **kwargs)
        check_options(tail, outside, smoothing)
        if class_target not in ("label", "map", "released"):
            raise ValueError(f"class_target must be 'label', 'map' or 'released', got {class_target!r}")
        self.token_stride, self.class_target, self.smoothing = token_stride, class_target, smoothing
        self.target_cfg = dict(tail=tail, outside=outside)
        self.token_augments = RandomBatchAugment(**batch_augments) if batch_augments else None

    @torch.compiler.disable  # NumPy's draws and checks of values: a compiled training step starts behind it
    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs`` (images, uint8 [3, H, W] each) and ``data_samples``.
            training: whether to build targets and apply batch augments.

        Returns:
            dict: the arguments of :meth:`TokenLabelClassifier.forward`.
        """
        data = super().forward(data, training)
        if not training or not data["data_samples"]:
            return data
        targets = self.build_targets(data["data_samples"], tuple(data["inputs"].shape[-2:]))
        if self.token_augments is not None:
            if targets.patch_tokens is not None:
                self._check_augments()
            data["inputs"], targets, *token_mix = self.token_augments(data["inputs"], targets)
            if token_mix:
                data["token_mix"] = token_mix[0]
        return {**data, "targets": targets}

    def _check_augments(self) -> None:
        for augment in self.token_augments.augments:
            if isinstance(augment, PixelCutMix) and not isinstance(augment, CutMix):
                raise ValueError(
                    f"mmpretrain's {type(augment).__name__} does not say where it cuts, so the token labels cannot "
                    "follow it: use type='mmtl.CutMix' with score maps, or train without them"
                )

    def build_targets(self, data_samples: Sequence[DataSample], image_hw: tuple[int, int]) -> BatchTargets:
        """Targets of a batch.

        Args:
            data_samples: with ``gt_label`` and, where there is a score map, the fields that
                :class:`mmtl.PackTokenLabelInputs` packs.
            image_hw: pixels of the network's input.
        """
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(self.device)
        mapped = torch.tensor(["score_map_scores" in sample for sample in data_samples])
        if not mapped.any():
            class_token = TokenTargets.from_labels(labels, self.num_classes)
            return BatchTargets(class_token.smoothed(self.smoothing), None, self._grid_hw(image_hw, needed=False))
        grid_hw = self._grid_hw(image_hw, needed=True)
        fields = _stack_fields(data_samples)
        patch_tokens = self._read(fields, grid_hw, self.smoothing)
        patch_tokens = patch_tokens.weighted(mapped.unsqueeze(1).to(self.device))
        if "erased_boxes_xyxy" in data_samples[0]:
            boxes = torch.stack([sample.erased_boxes_xyxy for sample in data_samples])
            patch_tokens = patch_tokens.weighted(~erased_tokens(boxes, grid_hw).to(self.device))
        class_token = TokenTargets.from_labels(labels, self.num_classes)
        if self.class_target != "label":
            blended = self._read(fields, (1, 1)).ground_truth(labels, self.class_target)
            share = mapped.to(self.device, torch.float32)
            class_token = blended * share + class_token * (1 - share)
        return BatchTargets(class_token.smoothed(self.smoothing), patch_tokens, grid_hw)

    def _read(self, fields: dict[str, Tensor], grid_hw: tuple[int, int], smoothing: float = 0.0) -> TokenTargets:
        return token_targets(
            **fields,
            grid_hw=grid_hw,
            num_classes=self.num_classes,
            smoothing=smoothing,
            device=self.device,
            **self.target_cfg,
        )

    def _grid_hw(self, image_hw: tuple[int, int], needed: bool) -> tuple[int, int]:
        if self.token_stride is None:
            if needed:
                raise ValueError(
                    "TokenLabelDataPreprocessor needs token_stride, the pixels of the input per token of the "
                    "backbone (its patch size), to read the score maps"
                )
            return (0, 0)
        if needed and (image_hw[0] % self.token_stride or image_hw[1] % self.token_stride):
            raise ValueError(
                f"token labels want image sides that are multiples of the token stride {self.token_stride}, got "
                f"{image_hw} (H, W): crop to another size"
            )
        return image_hw[0] // self.token_stride, image_hw[1] // self.token_stride


NO_FRAME = torch.tensor([[[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]]])


def erased_tokens(boxes_xyxy: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Tokens whose centre lies in an erased box.

    Args:
        boxes_xyxy: [B, n, 4] in the unit square of the network's input; boxes of no area erase nothing.
        grid_hw: token grid (h, w).

    Returns:
        Tensor: bool [B, N].
    """
    h, w = grid_hw
    y = (torch.arange(h) + 0.5).div(h).repeat_interleave(w)
    x = (torch.arange(w) + 0.5).div(w).repeat(h)
    x0, y0, x1, y1 = boxes_xyxy.unsqueeze(-1).unbind(2)  # [B, n, 1] each
    return ((x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)).any(1)


def _stack_fields(data_samples: Sequence[DataSample]) -> dict[str, Tensor]:
    """Score maps and views of a batch, on the CPU; an image without a map gets an empty one."""
    mapped = [sample for sample in data_samples if "score_map_scores" in sample]
    first = mapped[0]
    scores, classes = torch.zeros_like(first.score_map_scores), torch.zeros_like(first.score_map_classes)
    empty = {"score_map_scores": scores, "score_map_classes": classes, "view_affine": torch.eye(3)[:2]}
    if all("score_map_log_norm" in sample for sample in mapped):
        # All classes equally likely, whatever their number.
        empty["score_map_log_norm"] = torch.full_like(first.score_map_log_norm, 20.0)
    try:
        stacked = {
            name: torch.stack([sample.get(name) if "score_map_scores" in sample else value for sample in data_samples])
            for name, value in empty.items()
        }
    except RuntimeError as error:
        shapes = sorted({tuple(sample.score_map_scores.shape) for sample in mapped})
        raise ValueError(f"the score maps of a batch must be of one shape [h, w, k], got {shapes}") from error
    frames = [sample.get("frame_affines", NO_FRAME) for sample in data_samples]
    if any(frame is not NO_FRAME for frame in frames):
        stacked["frame_affines"] = _pad_frames(frames)
    return {name.removeprefix("score_map_"): value for name, value in stacked.items()}


def _pad_frames(frames: Sequence[Tensor]) -> Tensor:
    """Frames [n, 2, 3] of each image as [B, F, 2, 3], filled up with frames that everything lies in."""
    most = max(map(len, frames))
    return torch.stack([torch.cat((frame, NO_FRAME.expand(most - len(frame), 2, 3))) for frame in frames])
