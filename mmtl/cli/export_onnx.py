"""Export a classifier or a segmentor to ONNX, for any batch size, and compare it with onnxruntime.

mmtl export_onnx configs/lvvit/lvvit-small_8xb128-tokenlabel-300e_in1k.py small.onnx --checkpoint small.pth --dynamic

Input ``images``: float32 [B, 3, H, W], RGB, normalized as by the config's data preprocessor. Output ``logits``,
``probabilities`` or ``labels``: float32 [B, K] or, of a segmentor, [B, K, H, W]; labels are int64, without K. The
file's metadata has classes, palette, mean, std and the image sizes allowed. A file that differs from PyTorch's
results is not kept. Needs pip install onnx onnxscript onnxruntime.
"""

from argparse import ArgumentParser
from pathlib import Path

from mmtl.utils.cli import add_force_argument, check_minimum, check_out


def main(parser: ArgumentParser, arguments: list[str]) -> None:
    """Export one model."""
    parser.add_argument("config", type=Path, help="config of the model")
    parser.add_argument("target", type=Path, help="ONNX file to write")
    parser.add_argument("--checkpoint", type=Path, help="weights (default: random ones)")
    size_help = "side, or H and W (default: that of the test windows, or of the backbone)"
    parser.add_argument("--image-size", type=int, nargs="+", metavar="PIXELS", help=size_help)
    parser.add_argument("--dynamic", action="store_true", help="image sides of any multiples of the patch size")
    parser.add_argument("--fp16", action="store_true", help="weights and computation in float16, for GPUs")
    output = parser.add_mutually_exclusive_group()
    softmax_help = "output probabilities (of a sigmoid, where the head has one)"
    output.add_argument("--softmax", action="store_const", dest="output", const="softmax", help=softmax_help)
    argmax_help = "output labels: the top-1 class of an image, or of each pixel"
    output.add_argument("--argmax", action="store_const", dest="output", const="argmax", help=argmax_help)
    parser.add_argument("--opset", type=int, help="version of ONNX's operators (default: that of torch.onnx)")
    parser.set_defaults(output="logits")
    add_force_argument(parser)
    args = parser.parse_args(arguments)
    check_out(args, "target", "config", "checkpoint")
    check_minimum(args, 1, "opset")
    from mmtl.apis.export_onnx import export_onnx
    from mmtl.apis.onnx_graph import OUTPUTS

    options, differences = export_onnx(**vars(args))
    height, width = options.image_hw
    sides = f"{height}, {width}" if options.stride is None else f"{options.stride} m, {options.stride} n"
    print(f"{args.target}: images [B, {next(iter(differences))[1]}, {sides}] -> {OUTPUTS[options.output]}")
    for (batch, _, *hw), difference in differences.items():
        print(f"  {batch} x {hw[0]} x {hw[1]} pixels: largest difference from PyTorch {difference:.2g}")
