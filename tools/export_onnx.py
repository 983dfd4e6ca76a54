"""Export a classifier or a segmentor to ONNX, for any batch size.

python tools/export_onnx.py configs/lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py small.onnx --checkpoint small.pth

Input ``images``: float32 [B, 3, H, W], RGB, normalised as the config's data preprocessor does. Output ``logits``:
[B, K], or [B, K, H, W] of one window for a segmentor. Needs the extra ``onnx``: pip install 'mmtl[onnx]'.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.checkpoint import load_weights
from mmtl.utils.config_file import read_config


def main(arguments: list[str] | None = None) -> None:
    """Export one model; a user's mistake ends with one message and exit code 1."""
    args = parse_args(arguments)
    try:
        config = load_config(args.config)
        image_hw = given_image_hw(args.image_size) if args.image_size else default_image_hw(config)
        model = build_model(config, args.checkpoint)
        export(model, args.target, image_hw)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f"export_onnx: {error}")
    print(f"{args.target}: images [B, 3, {image_hw[0]}, {image_hw[1]}] -> logits")


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="config of the model")
    parser.add_argument("target", type=Path, help="ONNX file to write")
    parser.add_argument("--checkpoint", type=Path, help="weights; random ones without it")
    parser.add_argument(
        "--image-size",
        type=int,
        nargs="+",
        metavar="PIXELS",
        help="side, or H and W; default: of the test's windows, or of the backbone",
    )
    return parser.parse_args(arguments)


def load_config(path: Path) -> Config:
    """Read the config of a classifier or a segmentor."""
    config = read_config(path)
    if "backbone" not in config.get("model", {}):
        raise ValueError(f"{path} has no model with a backbone; give the config of a classifier or a segmentor")
    return config


def given_image_hw(sides: list[int]) -> tuple[int, int]:
    """Image size of the command line: one side, or H and W."""
    if len(sides) > 2:
        raise ValueError(f"--image-size takes one side, or H and W, got {' '.join(map(str, sides))}")
    return sides[0], sides[-1]


def default_image_hw(config: Config) -> tuple[int, int]:
    """Size of the windows that a segmentor is tested with, or else the image size that the backbone is made for."""
    size = (config.model.get("test_cfg") or {}).get("crop_size") or config.model.backbone.get("img_size")
    if size is None:
        raise ValueError("the config's backbone has no img_size: give --image-size")
    return (size, size) if isinstance(size, int) else tuple(size)


def build_model(config: Config, checkpoint: Path | None) -> nn.Module:
    """The config's classifier or segmentor in evaluation mode, on the CPU, with weights that have to fit."""
    if config.get("default_scope") == "mmseg":
        from mmseg.apis import init_model

        model = init_model(config, device="cpu")
    else:
        from mmpretrain import get_model

        model = get_model(config, pretrained=False, device="cpu")
    if checkpoint is not None:  # not by the calls above: they let weights of another model pass with a line in the log
        load_weights(model, checkpoint)
    return SegmentorLogits(model) if config.get("default_scope") == "mmseg" else model


class SegmentorLogits(nn.Module):
    """A segmentor's logits at the size of its input.

    Args:
        segmentor: MMSegmentation's ``EncoderDecoder``.
    """

    def __init__(self, segmentor: nn.Module) -> None:
        super().__init__()
        self.segmentor = revert_sync_batchnorm(segmentor)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, K, H, W]."""
        return self.segmentor.encode_decode(images, [dict(img_shape=tuple(images.shape[-2:]))])


def export(model: nn.Module, target: Path, image_hw: tuple[int, int]) -> None:
    """Write the model as an ONNX file, which appears only when it is whole.

    Args:
        model: Takes images [B, 3, H, W], gives logits.
        target: File to write.
        image_hw: Pixels of the exported model's input; only the batch size stays free.

    Raises:
        ModuleNotFoundError: If the packages of the extra ``onnx`` are not installed.
    """
    images = torch.zeros(2, 3, *image_hw)
    model.eval()(images)  # a size that the model refuses ends here, with the model's own message
    try:
        program = torch.onnx.export(
            model,
            (images,),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; export needs: pip install 'mmtl[onnx]'") from error
    with atomic_file(target) as part:
        program.save(part)


if __name__ == "__main__":
    main()
