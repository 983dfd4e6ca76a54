"""Export a classifier or a segmentor to ONNX, for any batch size.

mmtl export_onnx configs/lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py small.onnx --checkpoint small.pth

Input ``images``: float32 [B, 3, H, W], RGB, normalized as by the config's data preprocessor. Output ``logits``:
[B, K], or [B, K, H, W] of one window for a segmentor. Needs pip install onnx onnxscript.
"""

from argparse import ArgumentParser
from pathlib import Path

from mmtl.utils.cli import add_force_argument, check_out


def main(parser: ArgumentParser, arguments: list[str]) -> None:
    """Export one model."""
    parser.add_argument("config", type=Path, help="config of the model")
    parser.add_argument("target", type=Path, help="ONNX file to write")
    parser.add_argument("--checkpoint", type=Path, help="weights: a file or a URL (default: random ones)")
    size_help = "side, or H and W (default: that of the test windows, or of the backbone)"
    parser.add_argument("--image-size", type=int, nargs="+", metavar="PIXELS", help=size_help)
    add_force_argument(parser)
    args = parser.parse_args(arguments)
    check_out(args, "target", "config", "checkpoint")
    from mmtl.apis.export_onnx import export_onnx

    height, width = export_onnx(args.config, args.target, args.checkpoint, args.image_size)
    print(f"{args.target}: images [B, 3, {height}, {width}] -> logits")
