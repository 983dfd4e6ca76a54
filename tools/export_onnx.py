"""Export a classifier or a segmentor to ONNX, for any batch size.

python tools/export_onnx.py configs/lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py small.onnx --checkpoint small.pth

Input ``images``: float32 [B, 3, H, W], RGB, normalized as by the config's data preprocessor. Output ``logits``:
[B, K], or [B, K, H, W] of one window for a segmentor. Needs pip install onnx onnxscript.
"""

from pathlib import Path

from mmtl.utils.cli import add_force_argument, check_out, run_tool, tool_parser


def main() -> None:
    """Export one model."""
    from mmtl.apis.export_onnx import export_onnx

    parser = tool_parser(__doc__)
    parser.add_argument("config", type=Path, help="config of the model")
    parser.add_argument("target", type=Path, help="ONNX file to write")
    parser.add_argument("--checkpoint", type=Path, help="weights (default: random ones)")
    size_help = "side, or H and W (default: that of the test windows, or of the backbone)"
    parser.add_argument("--image-size", type=int, nargs="+", metavar="PIXELS", help=size_help)
    add_force_argument(parser)
    args = parser.parse_args()
    check_out(args, "target", "config", "checkpoint")
    height, width = export_onnx(args.config, args.target, args.checkpoint, args.image_size)
    print(f"{args.target}: images [B, 3, {height}, {width}] -> logits")


if __name__ == "__main__":
    run_tool(main)
