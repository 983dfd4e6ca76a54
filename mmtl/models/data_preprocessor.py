"""Station 3: one batch on the device, with token targets read from the score maps and mixed with the images."""

import copy
import inspect
import warnings
from collections.abc import Callable

import numpy as np
import torch
from mmpretrain.models.utils import ClsDataPreprocessor, RandomBatchAugment
from mmpretrain.models.utils.batch_augments import CutMix as PixelCutMix
from torch import Tensor

from mmtl.models.batch_augments.cut_mix import CutMix
from mmtl.models.batch_augments.device_augment import augment_images, erase_last, geometric_draws, split_erasing
from mmtl.models.batch_augments.device_erase import Normalization
from mmtl.models.collate import collate_training_batch
from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.models.token_labels.checks import check_label_form, check_options
from mmtl.models.token_labels.label_form import gumbel_noise, label_form
from mmtl.models.token_labels.score_map_batch import ScoreMapBatch
from mmtl.models.token_labels.targets import TokenTargets, token_targets
from mmtl.registry import ANNOTATORS, MODELS
from mmtl.utils.text import did_you_mean
from mmtl.utils.to_device import to_device

Annotate = Callable[[Tensor], dict[str, Tensor]]  # views, uint8 BGR [B, 3, H, W], to the fields of their score maps
# Read on the host, or perhaps not at all, so they stay there.
ON_HOST = ("view_affine", "frame_affines", "augment", "log_norm")


@MODELS.register_module()
class TokenLabelDataPreprocessor(ClsDataPreprocessor):
    """Normalize images, compute the targets of class and patch tokens, and apply the batch augments.

    In training it takes the batch of :func:`mmtl.models.collate.collate_training_batch`, or packed samples as
    mmengine's ``pseudo_collate`` leaves them, and returns ``inputs``, ``targets``, and ``token_mix`` when MixToken was
    drawn. It reads no number on the host, so it never waits for the device. Images without score map are trained on
    their class label only.

    Args:
        num_classes: K.
        token_stride: pixels of the input per token, the patch size of a ViT. Needed with score maps or MixToken.
        class_target: target of the class token: 'label' (paper), 'map' (the score map pooled over the crop, the
            released default) or 'both' (released with ``--ground-truth``), see :meth:`TokenTargets.ground_truth`. The
            deprecated name of 'both' is 'released'.
        tail: see :func:`token_targets`.
        smoothing: label smoothing of class and patch targets.
        outside: see :func:`token_targets`.
        label_form: see :func:`label_form`; labels of patch tokens from maps, before smoothing.
        temperature: of ``label_form='gumbel'``.
        min_confidence: patch tokens whose top-1 class has a smaller probability have no weight in the loss.
        batch_augments: ``dict(augments=[...], probs=[...])``, see mmpretrain: mmtl's MixToken and CutMix, mmpretrain's
            Mixup, and without score maps all of mmpretrain's.
        kwargs: mean, std, to_rgb and so on, see mmpretrain's ClsDataPreprocessor.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        token_stride: int | None = None,
        class_target: str = "label",
        tail: str = "zero_logit",
        smoothing: float = 0.0,
        outside: str = "uniform",
        label_form: str = "soft",
        temperature: float = 1.0,
        min_confidence: float = 0.0,
        batch_augments: dict | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(num_classes=num_classes, **kwargs)
        if self._enable_normalize:  # numbers on the host, where draws are
            mean, std = (np.asarray(kwargs[name], np.float64) for name in ("mean", "std"))
            if mean.size != std.size and 1 not in (mean.size, std.size):
                raise ValueError(
                    "model.data_preprocessor.mean and std must have one value, or the same number of values, one per "
                    f"channel, got {mean.size} of mean and {std.size} of std. Set both."
                )
            mean, std = np.broadcast_arrays(mean, std, np.zeros(max(mean.size, std.size, 1)))[:2]
            self._normalization = Normalization(mean, std, self.to_rgb)
        check_options(tail, outside, smoothing)
        check_label_form(label_form, temperature, min_confidence)
        self.form_cfg = dict(form=label_form, temperature=temperature, min_confidence=min_confidence)
        self.annotator_cfg: dict | None = None  # set by the classifier
        self._annotator: Annotate | None = None
        self._warned_of_store = False
        if class_target == "released":
            message = (
                "class_target='released' is deprecated: write class_target='both', the blend of label and map. The "
                "released default is class_target='map'."
            )
            warnings.warn(message, FutureWarning, stacklevel=2)
            class_target = "both"
        if class_target not in ("label", "map", "both"):
            raise ValueError(f"class_target must be 'label', 'map' or 'both', got {class_target!r}.")
        self.token_stride, self.class_target, self.smoothing = token_stride, class_target, smoothing
        self.target_cfg = dict(num_classes=num_classes, tail=tail, outside=outside, check_values=False)
        # MMPretrain appends to the list of probabilities, which belongs to the config: a second model would fail.
        self.token_augments = RandomBatchAugment(**copy.deepcopy(batch_augments)) if batch_augments else None

    @torch.compiler.disable  # NumPy's draws and affines on the host: a compiled training step starts after it
    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: in training the tensors of :func:`mmtl.models.collate.collate_training_batch`; otherwise, or in
                place of them, ``inputs`` (images [3, H, W], uint8) and ``data_samples``.
            training: whether to compute targets and apply batch augments.

        Returns:
            dict: the arguments of :meth:`TokenLabelClassifier.forward`.
        """
        if not training or data.get("data_samples", ()) is None:
            return super().forward(data, training)
        if "labels" not in data:
            samples = [dict(zip(data, values, strict=True)) for values in zip(*data.values(), strict=True)]
            data = collate_training_batch(samples, self.num_classes)
        if self.annotator_cfg is not None:
            data = self.annotated(data)
        images = self._images(data)
        targets = self.build_targets(data, tuple(images.shape[-2:]))
        if self.token_augments is None:
            return dict(inputs=images, targets=targets)
        if targets.patch_tokens is not None:
            self._check_augments()
        # Only MixToken returns a third item.
        return dict(zip(("inputs", "targets", "token_mix"), self.token_augments(images, targets), strict=False))

    def load_annotator(self) -> Annotate:
        """Return the online annotator, which is built when it is first needed: only training needs it."""
        if self._annotator is None:
            cfg = {"type": "OnlineAnnotator", **self.annotator_cfg}
            kind = ANNOTATORS.get(cfg.pop("type"))
            known = [name for name in inspect.signature(kind).parameters if name not in ("num_classes", "device")]
            if unknown := [name for name in cfg if name not in known]:
                raise ValueError(
                    f"model.annotator must have options of {', '.join(known)}, got {', '.join(unknown)}. "
                    f"{did_you_mean(unknown[0], known)}".rstrip()
                )
            self._annotator = kind(**cfg, num_classes=self.num_classes, device=self.device)
        return self._annotator

    def annotated(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch with the annotator's maps of the views, as cropped, flipped and warped, in original colors.

        They replace maps from a store. Padding, by ``frame_affines``, remains outside the image.
        """
        if "scores" in batch and not self._warned_of_store:  # libraries reset what Python has shown once
            message = "model.annotator labels the images: score maps of a store are not used. Set score_maps=None."
            warnings.warn(message, stacklevel=2)
            self._warned_of_store = True
        images = views = to_device(batch["inputs"], self.device)
        if "augment" in batch:
            views = augment_images(images, geometric_draws(batch["augment"]))
        others = {name: value for name, value in batch.items() if name not in ("has_map", "log_norm")}
        return {**others, "inputs": images, **self.load_annotator()(views)}

    def _images(self, batch: dict[str, Tensor]) -> Tensor:
        """Copy the images to the device, augment and normalize them, all at once."""
        images, erasing = to_device(batch["inputs"], self.device), None
        normalizes_only = self._enable_normalize and self.pad_size_divisor <= 1
        if "augment" in batch:
            draws = batch["augment"].numpy()
            if normalizes_only:  # released: noise is added after normalization
                draws, erasing = split_erasing(draws)
            images = augment_images(images, draws)
        if not normalizes_only:
            return super().forward({"inputs": images}, training=False)["inputs"]
        self._check_channels(images.shape[1])
        images = images.flip(1) if self.to_rgb and images.shape[1] == 3 else images
        # As the parent does, without a copy in floating point before.
        images = (images - self.mean.float()).div_(self.std)
        return images if erasing is None else erase_last(images, erasing, self._normalization)

    def _check_channels(self, channels: int) -> None:
        if len(self._normalization.mean) not in (1, channels) or (self.to_rgb and channels not in (1, 3)):
            raise ValueError(
                f"mean, std and to_rgb of TokenLabelDataPreprocessor must fit images of {channels} channels, got "
                f"{self.mean.numel()} means, {self.std.numel()} deviations and to_rgb={self.to_rgb}. Give as many "
                "values as channels, to_rgb=False unless images are BGR, and load images with LoadImageFromFile("
                "color_type='unchanged') if they are not RGB."
            )

    def _check_augments(self) -> None:
        for augment in self.token_augments.augments:
            if isinstance(augment, PixelCutMix) and not isinstance(augment, CutMix):
                raise ValueError(
                    f"mmpretrain's {type(augment).__name__} does not report where it cuts, so the token labels cannot "
                    "follow it. Use type='mmtl.CutMix' with score maps, or train without them."
                )

    def build_targets(self, batch: dict[str, Tensor], image_hw: tuple[int, int]) -> BatchTargets:
        """Compute the targets of a batch.

        Args:
            batch: the tensors of :func:`mmtl.models.collate.collate_training_batch`, with valid numbers.
            image_hw: pixels of the network's input.
        """
        sent = {name: to_device(x, self.device) for name, x in batch.items() if name not in ("inputs", *ON_HOST)}
        batch = {**batch, **sent}
        label_cfg = dict(check_values=False, smoothing=self.smoothing)
        class_token = TokenTargets.from_labels(batch["labels"], self.num_classes, **label_cfg)
        if "scores" not in batch:
            return BatchTargets(class_token, None, self._grid_hw(image_hw, needed=False))
        grid_hw, has_map = self._grid_hw(image_hw, needed=True), batch.get("has_map")
        maps = {name: batch[name] for name in ScoreMapBatch._fields if name in batch}
        patch_tokens = self._patch_targets(maps, grid_hw)
        if has_map is not None:
            patch_tokens = patch_tokens.weighted(has_map.unsqueeze(1))
        if "erased_boxes_xyxy" in batch:
            patch_tokens = patch_tokens.weighted(~erased_tokens(batch["erased_boxes_xyxy"], grid_hw))
        if self.class_target != "label":
            pooled = token_targets(**maps, grid_hw=(1, 1), smoothing=self.smoothing, **self.target_cfg)
            pooled = pooled.ground_truth(batch["labels"], self.class_target, **label_cfg)
            share = 1.0 if has_map is None else has_map.float()
            class_token = pooled * share + class_token * (1 - share)
        return BatchTargets(class_token, patch_tokens, grid_hw)

    def _patch_targets(self, maps: dict[str, Tensor], grid_hw: tuple[int, int]) -> TokenTargets:
        targets = token_targets(**maps, grid_hw=grid_hw, **self.target_cfg)
        noise = gumbel_noise(targets) if self.form_cfg["form"] == "gumbel" else None
        targets = label_form(targets, **self.form_cfg, noise=noise)
        return targets.smoothed(self.smoothing) if self.smoothing else targets

    def _grid_hw(self, image_hw: tuple[int, int], needed: bool) -> tuple[int, int] | None:
        stride = self.token_stride
        if needed and stride is None:
            raise ValueError(
                "TokenLabelDataPreprocessor needs token_stride, the pixels of the input per token of the "
                "backbone (its patch size), to read the score maps."
            )
        if needed and any(side % stride for side in image_hw):
            raise ValueError(
                f"Image sides must be multiples of the token stride {stride}, got {image_hw} (H, W). Crop to another "
                "size, or train without token labels."
            )
        return None if stride is None else (image_hw[0] // stride, image_hw[1] // stride)


def erased_tokens(boxes_xyxy: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Return bool [B, N]: whether the center of a token of the grid (h, w) is in an erased box.

    Boxes [B, n, 4] are in the unit square of the network's input; those of no area erase nothing.
    """
    h, w = grid_hw
    y = (torch.arange(h, device=boxes_xyxy.device) + 0.5).div(h).repeat_interleave(w)
    x = (torch.arange(w, device=boxes_xyxy.device) + 0.5).div(w).repeat(h)
    x0, y0, x1, y1 = boxes_xyxy.unsqueeze(-1).unbind(2)  # [B, n, 1] each
    return ((x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)).any(1)
