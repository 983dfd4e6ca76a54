"""The graph of an ONNX file: its output, its variable image size, and its comparison with PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

OUTPUTS = {"logits": "logits", "softmax": "probabilities", "argmax": "labels"}  # names of the graph's output
# Allowed difference of logits in units of their largest magnitude (at least 1), and of probabilities.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2}

OLDEST_OPSET = 18  # of torch.onnx's operators
FIXED_SIZE = "Leave out --dynamic: the image size is then fixed."
INSTALL = "pip install onnx onnxscript onnxruntime"


class GraphOptions(NamedTuple):
    """What the user chooses of a graph.

    Attributes:
        image_hw: pixels of its images, or of those that it is compared with if ``stride`` is given.
        stride: image sides are any multiples of it; None fixes them.
        output: 'logits', 'softmax' or 'argmax'.
        fp16: whether weights and computation are in float16; input and output are not.
        opset: version of the operators; None for torch's default.
    """

    image_hw: tuple[int, int]
    stride: int | None = None
    output: str = "logits"
    fp16: bool = False
    opset: int | None = None


class AdaptiveMeans(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products, which ONNX has for variable sizes; [B, C, H, W] in and out."""

    def __init__(self, output_hw: tuple[int, int]) -> None:
        super().__init__()
        self.output_hw = output_hw

    def forward(self, x: Tensor) -> Tensor:
        """Return the means [B, C, *output_hw] of windows that cover the map."""
        rows, columns = (_window_weights(*sizes, x) for sizes in zip(self.output_hw, x.shape[-2:], strict=True))
        return rows @ x @ columns.T


def _window_weights(count: int, length: int, like: Tensor) -> Tensor:
    """Return [count, length] with the weights of the means: window i is from i * length / count, rounded outward."""
    window = torch.arange(count, device=like.device).unsqueeze(1)
    start, end = window * length // count, ((window + 1) * length + count - 1) // count
    position = torch.arange(length, device=like.device)
    return ((start <= position) & (position < end)).to(like.dtype) / (end - start).to(like.dtype)


def replace_adaptive_pooling(model: nn.Module) -> None:
    """Replace each pooling to a grid of more than one cell by `AdaptiveMeans`, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size not in (1, (1, 1)):
                size = child.output_size
                setattr(parent, name, AdaptiveMeans((size, size) if isinstance(size, int) else size))


class Graph(nn.Module):
    """A model with the output of the ONNX file.

    Args:
        model: maps images [B, I, H, W] to logits [B, K] or [B, K, H, W].
        output: see `GraphOptions`.
        threshold: probability above which a sigmoid's label is 1; None if the logits belong to a softmax.
    """

    def __init__(self, model: nn.Module, output: str, threshold: float | None) -> None:
        super().__init__()
        self.model, self.output, self.threshold, self.dtype = model, output, threshold, torch.float32

    def to_half(self) -> None:
        """Convert the weights to float16."""
        self.model.half()
        self.dtype = torch.float16

    def forward(self, images: Tensor) -> Tensor:
        """Return the output of float32 images."""
        return self.finish(self.model(images.to(self.dtype)).float())

    @property
    def name(self) -> str:
        """Name of the backbone, for messages."""
        backbone = getattr(getattr(self.model, "segmentor", self.model), "backbone", self.model)
        return getattr(backbone, "model_name", type(backbone).__name__)

    def finish(self, logits: Tensor) -> Tensor:
        """Return the output of logits."""
        if self.output == "logits":
            return logits
        if self.threshold is None:
            return logits.softmax(1) if self.output == "softmax" else logits.argmax(1)
        probabilities = logits.sigmoid()
        return probabilities if self.output == "softmax" else (probabilities > self.threshold).squeeze(1).long()

    def difference(self, found: Tensor, logits: Tensor) -> float:
        """Return how far an output is from that of logits; for labels, by how much the logits prefer others."""
        expected = self.finish(logits)
        if found.shape != expected.shape:
            raise ValueError(f"onnxruntime computes {list(found.shape)} in place of {list(expected.shape)}.")
        if self.output != "argmax":
            return (found - expected).abs().max().item()
        if self.threshold is None:
            return (logits.amax(1) - logits.gather(1, found.unsqueeze(1)).squeeze(1)).max().item()
        margins = (logits.sigmoid() - self.threshold).abs().squeeze(1)
        return (margins * (found != expected)).max().item()

    def tolerance(self, logits: Tensor) -> float:
        """Return the largest difference allowed."""
        are_logits = self.output == "logits" or (self.output == "argmax" and self.threshold is None)
        return TOLERANCE[self.dtype] * (max(1.0, logits.abs().max().item()) if are_logits else 1.0)


class Probe(NamedTuple):
    """Images, and the model's logits of them in float32."""

    images: Tensor
    logits: Tensor


@torch.no_grad()
def make_probes(graph: Graph, options: GraphOptions, in_channels: int) -> list[Probe]:
    """Run the model on random images of three sizes, or with a fixed size in two batches.

    Raises:
        ValueError: The model refuses a size.
    """
    (height, width), stride = options.image_hw, options.stride
    shapes = [(1, height, width), (3, height, width)]
    if stride is not None:
        smaller = max(stride, height // 2 // stride * stride)
        shapes = [(1, height, width), (3, smaller, width), (1, height + 2 * stride, width + stride)]
    generator = torch.Generator().manual_seed(0)
    probes: list[Probe] = []
    for batch, *hw in shapes:
        images = torch.randn(batch, in_channels, *hw, generator=generator)
        try:
            probes.append(Probe(images, graph.model(images).float()))
        except (ValueError, RuntimeError, AssertionError) as error:
            if not probes or isinstance(error, torch.OutOfMemoryError):
                raise
            reason = _first_line(error)
            raise ValueError(f"The model refuses {hw[0]} x {hw[1]} pixels (H x W): {reason}. {FIXED_SIZE}") from error
    return probes


def check_opset(opset: int | None) -> None:
    """Check that torch.onnx and the installed onnx package know a version."""
    try:
        from onnx.defs import onnx_opset_version
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}. Install it with: {INSTALL}") from error
    newest = onnx_opset_version()
    if opset is not None and not OLDEST_OPSET <= opset <= newest:
        raise ValueError(f"--opset must be from {OLDEST_OPSET} to {newest}, got {opset}.")


def export_graph(graph: Graph, options: GraphOptions, in_channels: int) -> torch.onnx.ONNXProgram:
    """Trace a graph for any batch size and, if ``options`` have a stride, for any multiples of it."""
    (height, width), stride = options.image_hw, options.stride
    sizes: dict[int, object] = {0: torch.export.Dim("batch")}
    if stride is not None:
        # A size at which nothing is skipped, as the resizing of the position embedding is at its own.
        height, width = height + stride, width + 2 * stride
        sizes |= {axis: stride * torch.export.Dim(name, min=1) for axis, name in ((2, "rows"), (3, "columns"))}
    try:
        program = torch.onnx.export(
            graph,
            (torch.zeros(2, in_channels, height, width),),
            input_names=["images"],
            output_names=[OUTPUTS[options.output]],
            dynamic_shapes=(sizes,),
            opset_version=options.opset,
            dynamo=True,
            verbose=False,
        )
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}. Install it with: {INSTALL}") from error
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(_why_not_exported(error, graph.name, options)) from error
    _check_free_batch(program, graph.name)
    return program


def _check_free_batch(program: torch.onnx.ONNXProgram, name: str) -> None:
    """Check that torch.export has not fixed the batch size, as ``len(images)`` makes it do."""
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        if isinstance(batch := value.shape[0], int):
            raise ValueError(
                f"The graph of {name} must take any batch size, got one that is fixed at the {batch} images of the "
                "trace. Export another model, or change the operation in this one that fixes it."
            )


def _why_not_exported(error: BaseException, name: str, options: GraphOptions) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    if options.stride is None:
        return f"The model {name} cannot be exported: {_first_line(error)}."
    return f"The model {name} cannot be exported with --dynamic: {_first_line(error)}. {FIXED_SIZE}"


def _first_line(error: BaseException) -> str:
    lines = (line.strip().rstrip(".:") for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def check_file(path: Path, graph: Graph, probes: Sequence[Probe]) -> dict[tuple[int, ...], float]:
    """Run an ONNX file with onnxruntime on the CPU, and return its difference for each shape of images.

    Raises:
        ValueError: onnxruntime cannot run it, or its results differ from the model's.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}. Install it with: {INSTALL}") from error
    advice = " Leave out --fp16." if graph.dtype == torch.float16 else ""
    if len({probe.images.shape[2:] for probe in probes}) > 1:
        advice += f" {FIXED_SIZE}"
    differences = {}
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        results = [session.run(None, {"images": images.numpy()})[0] for images, _ in probes]
    except Exception as error:  # its errors have no common base class
        raise ValueError(f"onnxruntime cannot run the exported model: {_first_line(error)}.{advice}") from error
    for (images, logits), result in zip(probes, results, strict=True):
        found, limit = graph.difference(torch.from_numpy(result), logits), graph.tolerance(logits)
        if not found <= limit:  # also NaN
            batch, _, *hw = images.shape
            raise ValueError(
                f"The exported model must compute the {OUTPUTS[graph.output]} of PyTorch up to {limit:.2g}, got a "
                f"difference of {found:.2g} at {hw[0]} x {hw[1]} pixels (H x W), batch {batch}. "
                f"No file is written.{advice}"
            )
        differences[tuple(images.shape)] = found
    return differences
