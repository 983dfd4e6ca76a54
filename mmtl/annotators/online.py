"""An annotator that labels the images of a training step."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.nn import functional as F

from mmtl.annotators.annotator import Annotator, Inference, is_out_of_memory
from mmtl.annotators.generate import top_classes
from mmtl.annotators.load import load_annotator
from mmtl.annotators.load_lite import PREFIX as LITE_PREFIX
from mmtl.registry import ANNOTATORS
from mmtl.score_maps.class_subset import read_classes
from mmtl.score_maps.class_table import ClassTable
from mmtl.utils.compile_or_warn import CompiledOrEager

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.bfloat16, torch.float16)}
# mmcv's names of interpolations whose name or rule differs in PyTorch; Pillow's filters have no other counterpart.
MODES = {"nearest": "nearest-exact", "lanczos": "bicubic", "hamming": "bilinear", "box": "area"}


@ANNOTATORS.register_module()
class OnlineAnnotator:
    """Compute the score maps of a batch while a student is trained on it.

    It is not a module, so that state dict, optimizer, weight average, distributed training and counts of parameters
    and operations do not contain it. Its weights are frozen, in evaluation mode and in its own precision.

    Args:
        model: what ``make_score_maps`` takes as CONFIG: an MMPretrain config file or model name, ``timm/NAME`` or
            ``lite/NAME``.
        checkpoint: file of weights, 'random', or 'pretrained' for a name of timm or MMPretrain; ``lite/NAME`` needs
            none.
        input_size: its input in pixels, S or (H, W), to which views are resized without keeping their aspect ratio.
            None is that of the model's own test pipeline or, without one, the size of the view.
        topk: classes listed per cell; None lists all.
        classes: file of the classes to keep, see ``--classes`` of ``make_score_maps``.
        dtype: 'float32', 'bfloat16' or 'float16', of weights and computation.
        crops: see ``--crops`` of ``make_score_maps``.
        flip: average with the mirrored view.
        channels_last: memory layout of views and weights.
        compile: whether to compile it, or options of ``torch.compile``.
        num_classes: classes of the student's head, which it must have; None accepts any.
        device: where it runs.

    Raises:
        FileNotFoundError: Config or checkpoint do not exist.
        ValueError: An option is invalid, the classes differ, or the model cannot be converted to dense prediction.
    """

    def __init__(
        self,
        model: str,
        checkpoint: str | None = None,
        input_size: int | tuple[int, int] | None = None,
        topk: int | None = None,
        classes: str | None = None,
        dtype: str = "bfloat16",
        crops: int = 1,
        flip: bool = False,
        channels_last: bool = False,
        compile: bool | dict = False,
        num_classes: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.model, self.topk, self.num_classes = model, topk, num_classes
        self.classes, self.compile = classes, compile
        self.input_hw = _check_options(model, checkpoint, input_size, dtype, crops)
        own_dtype, weights = DTYPES[dtype], None if checkpoint is None else str(checkpoint)
        inference = Inference(crops, flip, None if own_dtype is torch.float32 else own_dtype, channels_last)
        devices = [torch.cuda.current_device()] if torch.device(device).type == "cuda" else []
        with torch.random.fork_rng(devices):  # random weights do not change the run's random numbers
            self.annotator = load_annotator(model, weights, str(device), inference, self.input_hw)
        self.input_hw = self.input_hw or self.annotator.size_hw
        self.annotator.dense.requires_grad_(False).to(own_dtype)
        self.is_ready = False
        if self.input_hw is not None:  # otherwise the first batch has the size
            self._prepare(self.input_hw)

    def __deepcopy__(self, memo: dict) -> "OnlineAnnotator":
        return self  # a copy of the student (EMA) does not need another one

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Return the score maps of views, which cover exactly these views, in a store's precision.

        Args:
            images: uint8 BGR [B, 3, H, W], or of other channels as the annotator takes them; gray ones [B, 1, H, W]
                get its channels.

        Returns:
            dict: ``scores`` float16 [B, h, w, k], ``classes`` int64 [B, h, w, k], ``log_norm`` float16 [B, h, w] and
            ``view_affine`` [B, 2, 3], the identity, on the CPU.
        """
        size_hw = self.input_hw or tuple(images.shape[-2:])
        if not self.is_ready:
            self._prepare(size_hw)
        if (channels := images.shape[1]) not in (1, self.annotator.channels):
            raise ValueError(
                f"model.annotator ({self.model}) must take the student's images of {channels} channels, got one for "
                f"{self.annotator.channels}. Choose an annotator trained on such images, or use a store."
            )
        images = images.expand(-1, self.annotator.channels, -1, -1)
        with self._explained(len(images), size_hw):
            logits = self.annotator.training_logits(resize(images, self.annotator, size_hw))
        if self.topk is None:
            classes = torch.arange(logits.shape[-1], device=logits.device).expand_as(logits)
            scores, log_norm = logits, logits.logsumexp(-1)
        else:
            scores, classes, log_norm = top_classes(logits, self.topk)
        view_affine = torch.eye(2, 3).expand(len(images), 2, 3)
        return dict(scores=scores.half(), classes=classes, log_norm=log_norm.half(), view_affine=view_affine)

    def class_table(self) -> ClassTable | None:
        """Return the names of its classes; None before the first batch if that sets the input size."""
        return ClassTable.of(self.annotator.description, self.found_classes) if self.is_ready else None

    def _prepare(self, size_hw: tuple[int, int]) -> None:
        """Select its classes, compare them with the student's, compile it, and log its grid, found by a trial run."""
        with self._explained(1, size_hw):
            (height, width), found = self.annotator.output_shape(size_hw)
        if self.classes is not None:
            subset = read_classes(Path(self.classes), ClassTable.of(self.annotator.description, found))
            self.annotator, found = self.annotator.with_classes(subset), len(subset.indices)
        if self.num_classes not in (None, found):
            raise ValueError(
                f"model.annotator ({self.model}) must have the {self.num_classes} classes of model.head, got {found}. "
                "Choose an annotator of these classes, or list them in a file model.annotator.classes, as for "
                "make_score_maps --classes."
            )
        if self.topk is not None and self.topk not in range(1, found + 1):
            raise ValueError(f"model.annotator.topk must be from 1 to {found}, its classes, got {self.topk!r}.")
        if self.compile:
            dense, options = self.annotator.dense, {} if self.compile is True else dict(self.compile)
            compiled = CompiledOrEager(type(dense).forward, options, training=False)
            self.annotator.dense = partial(compiled, dense)
        self.found_classes, self.is_ready = found, True
        print_log(
            f"Online annotator {self.model}: {size_hw[0]} x {size_hw[1]} pixels make {height} x {width} cells of "
            f"{f'the top {self.topk} of ' if self.topk else ''}{found} classes.",
            logger="current",
        )

    @contextmanager
    def _explained(self, count: int, size_hw: tuple[int, int]) -> Iterator[None]:
        """Name the options to lower in errors about exhausted memory."""
        try:
            yield
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise RuntimeError(
                f"model.annotator ({self.model}) ran out of memory for {count} images of {size_hw[0]} x {size_hw[1]} "
                f"pixels: {str(error).splitlines()[0]} Lower model.annotator.input_size or "
                "train_dataloader.batch_size, or label with a store (`mmtl make_score_maps`)."
            ) from error


def resize(images: Tensor, annotator: Annotator, size_hw: tuple[int, int]) -> Tensor:
    """Resize images [B, C, H, W] as files are resized for this annotator; uint8 become float32 of integer values.

    Pillow's filters are antialiased, OpenCV's are not.
    """
    target_hw = annotator.resize(size_hw).size_hw
    if tuple(images.shape[-2:]) == target_hw:
        return images
    mode = MODES.get(annotator.interpolation, annotator.interpolation)
    options: dict[str, Any] = {}
    if mode in ("bilinear", "bicubic"):
        options = dict(align_corners=False, antialias=annotator.backend == "pillow")
    resized = F.interpolate(images.float(), target_hw, mode=mode, **options)
    return resized.round_().clamp_(0, 255) if images.dtype == torch.uint8 else resized


def _check_options(
    model: str, checkpoint: str | None, input_size: int | tuple[int, int] | None, dtype: str, crops: int
) -> tuple[int, int] | None:
    """Raise ValueError for invalid options, and return the input size (H, W)."""
    if checkpoint is None and not model.startswith(LITE_PREFIX):
        raise ValueError(f"model.annotator ({model}) must have a checkpoint, a file of weights, or 'random'.")
    if dtype not in DTYPES:
        raise ValueError(f"model.annotator.dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    sides = (input_size, input_size) if isinstance(input_size, int) else input_size
    valid = sides is None or (len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides))
    if not valid or isinstance(input_size, bool):
        raise ValueError(f"model.annotator.input_size must be S or (H, W) in pixels, got {input_size!r}.")
    if not isinstance(crops, int) or crops < 1:
        raise ValueError(f"model.annotator.crops must be at least 1, got {crops!r}.")
    return None if sides is None else tuple(sides)
