"""Export a classifier or a segmentor to ONNX."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import Tensor, nn

from mmtl.apis.onnx_graph import (
    Graph,
    GraphOptions,
    check_file,
    check_opset,
    export_graph,
    make_probes,
    replace_adaptive_pooling,
)
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import load_weights
from mmtl.utils.config_file import leaf_dataset_cfgs, name_config_errors, read_config
from mmtl.utils.model_parts import decode_head_of, head_of

DEFAULT_STRIDE = 32  # of hierarchical backbones


def export_onnx(
    config: Path,
    target: Path,
    checkpoint: Path | None = None,
    image_size: Sequence[int] | None = None,
    *,
    dynamic: bool = False,
    fp16: bool = False,
    output: str = "logits",
    opset: int | None = None,
) -> tuple[GraphOptions, dict[tuple[int, ...], float]]:
    """Export the model of a config, for any batch size, and compare the file with it before it gets its name.

    Args:
        config: config of a classifier or a segmentor.
        target: ONNX file, which is written atomically.
        checkpoint: weights; None exports random ones.
        image_size: side, or height and width, in pixels; None takes that of the test windows or of the backbone.
        dynamic: whether image sides are any multiples of the backbone's stride.
        fp16: whether weights and computation are in float16.
        output: 'logits', 'softmax' or 'argmax'.
        opset: version of ONNX's operators; None for torch's default.

    Returns:
        What was exported, and the largest difference from PyTorch for each shape of images.

    Raises:
        ModuleNotFoundError: The packages of the extra ``onnx`` are not installed.
        OSError: A file cannot be read or written.
        ValueError: The config has no such model, checkpoint or image size do not fit it, or the graph of the model
            cannot be exported with these options.
    """
    check_opset(opset)
    with name_config_errors(config):
        cfg = load_config(config)
        image_hw = resolve_image_hw(cfg, image_size)
        model = build_model(cfg, checkpoint)
    stride = stride_of(model) if dynamic else None
    options = GraphOptions(image_hw, stride, output, fp16, opset)
    if dynamic and any(side < 1 or side % stride for side in image_hw):
        raise ValueError(f"--image-size must be multiples of the stride {stride} with --dynamic, got {image_hw}.")
    metadata = model_metadata(cfg, model, options)
    return options, write_onnx(model, target, options, metadata, cfg.model.backbone.get("in_channels", 3))


def load_config(path: Path) -> Config:
    """Read the config of a classifier or a segmentor."""
    config = read_config(path)
    if "backbone" not in config.get("model", {}):
        raise ValueError(f"{path} has no model with a backbone. Give the config of a classifier or a segmentor.")
    return config


def resolve_image_hw(config: Config, image_size: Sequence[int] | None) -> tuple[int, int]:
    """Return the given image size, or that of a segmentor's test windows, or that of the backbone."""
    size = image_size or (config.model.get("test_cfg") or {}).get("crop_size") or config.model.backbone.get("img_size")
    if size is None:
        raise ValueError("The config's backbone has no img_size. Give --image-size.")
    sides = (size,) if isinstance(size, int) else tuple(size)
    if len(sides) > 2:
        raise ValueError(f"--image-size must be one side, or H and W, got {' '.join(map(str, sides))}.")
    return sides[0], sides[-1]


def build_model(config: Config, checkpoint: Path | None) -> nn.Module:
    """Return the config's model in evaluation mode, on the CPU, with the checkpoint's ``dataset_meta``."""
    scope = config.get("default_scope", "mmpretrain")
    init_default_scope(scope)
    # As the Runner merges them.
    model = MODELS.build({"data_preprocessor": config.get("data_preprocessor"), **config.model})
    meta = {} if checkpoint is None else load_weights(model, checkpoint)
    model = (SegmentorLogits(model) if scope == "mmseg" else model).eval()
    model.dataset_meta = meta
    return model


class SegmentorLogits(nn.Module):
    """The logits of MMSegmentation's ``EncoderDecoder`` at the size of its input."""

    def __init__(self, segmentor: nn.Module) -> None:
        super().__init__()
        self.segmentor = revert_sync_batchnorm(segmentor)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K, H, W] of images [B, 3, H, W]."""
        return self.segmentor.encode_decode(images, [dict(img_shape=tuple(images.shape[-2:]))])


def stride_of(model: nn.Module) -> int:
    """Return the number of which a model's image sides must be multiples."""
    model = getattr(model, "segmentor", model)
    owners = (
        (model.backbone, "patch_size"),
        (model.backbone, "token_stride"),
        (model.data_preprocessor, "token_stride"),
    )
    strides = (getattr(owner, name, None) for owner, name in owners)
    return next((stride for stride in strides if isinstance(stride, int)), DEFAULT_STRIDE)


def sigmoid_threshold(model: nn.Module) -> float | None:
    """Return the threshold of a segmentor with one output, None for other models."""
    head = decode_head_of(model.segmentor) if isinstance(model, SegmentorLogits) else None
    return head.threshold if head is not None and head.out_channels == 1 else None


def model_metadata(config: Config, model: nn.Module, options: GraphOptions) -> dict[str, str]:
    """Return the ``metadata_props`` of the file: JSON texts that describe input and output."""
    inner = getattr(model, "segmentor", model)
    values: dict[str, object] = dict(
        image_size=options.image_hw, dynamic=options.stride is not None, stride=options.stride, output=options.output
    )
    values["precision"] = "float16" if options.fp16 else "float32"
    values["threshold"] = sigmoid_threshold(model)
    preprocessor = inner.data_preprocessor
    for name in ("mean", "std"):
        if isinstance(value := getattr(preprocessor, name, None), Tensor):
            values[name] = value.flatten().tolist()
    bgr_to_rgb = getattr(preprocessor, "to_rgb", getattr(preprocessor, "_channel_conversion", False))
    values["channel_order"] = "RGB" if bgr_to_rgb else "as loaded"
    values |= class_metadata(config, model)
    return {name: json.dumps(value) for name, value in values.items() if value is not None}


def class_metadata(config: Config, model: nn.Module) -> dict[str, object]:
    """Return ``classes`` and, of a segmentor, ``palette``; those of the checkpoint, else those of the test data."""
    dataset = (leaf_dataset_cfgs((config.get("test_dataloader") or {}).get("dataset") or {"type": None}))[0]
    if isinstance(model, SegmentorLogits):
        from mmtl.apis.segment import class_colors

        names, palette = class_colors(model.dataset_meta, dataset, decode_head_of(model.segmentor).num_classes)
        return dict(classes=names, palette=palette.tolist())
    names = model.dataset_meta.get("classes") or dataset_classes(dataset)
    fits = isinstance(names, Sequence) and len(names) == getattr(head_of(model), "num_classes", None)
    return dict(classes=list(names)) if fits else {}


def dataset_classes(dataset: Mapping) -> object:
    """Return the class names of a classification dataset's config or type, None if it has none."""
    with DATASETS.switch_scope_and_registry(None) as registry:
        kind = registry.get(dataset["type"]) if isinstance(dataset["type"], str) else dataset["type"]
    named = {**(getattr(kind, "METAINFO", None) or {}), **dataset.get("metainfo", {})}
    return dataset.get("classes") or named.get("classes")


def write_onnx(
    model: nn.Module, target: Path, options: GraphOptions, metadata: Mapping[str, str], in_channels: int = 3
) -> dict[tuple[int, ...], float]:
    """Trace a model that maps images [B, I, H, W] to logits, write it, and compare the file with it.

    Returns:
        The largest difference for each shape of images.
    """
    graph = Graph(model, options.output, sigmoid_threshold(model)).eval()
    probes = make_probes(graph, options, in_channels)  # reports a size that the model refuses
    replace_adaptive_pooling(model)
    if options.fp16:
        graph.to_half()
    program = export_graph(graph, options, in_channels)
    if options.opset not in (None, version := program.model.opset_imports[""]):
        raise ValueError(f"--opset must be one that torch.onnx can write, got {options.opset}. Give {version}.")
    program.model.metadata_props.update(metadata)
    with atomic_file(target) as part:
        program.save(part)
        return check_file(part, graph, probes)
