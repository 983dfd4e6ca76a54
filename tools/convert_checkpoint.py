"""Convert a released LV-ViT checkpoint (classifier or segmentor) for mmtl, or the other way round.

python tools/convert_checkpoint.py lvvit_s-224-83.3.pth.tar checkpoints/lvvit-small_in1k.pth
mim run mmtl convert_checkpoint work_dirs/NAME/epoch_310.pth released.pth --to-released
"""

from __future__ import annotations

from pathlib import Path

from mmtl.utils.cli import add_force_argument, check_out, run_tool, tool_parser


def main(arguments: list[str] | None = None) -> None:
    """Convert one file."""
    from mmtl.apis.convert import convert_file

    parser = tool_parser(__doc__)
    parser.add_argument("source", type=Path, help="checkpoint to read")
    parser.add_argument("target", type=Path, help="checkpoint to write")
    parser.add_argument("--to-released", action="store_true", help="convert mmtl's names to the released ones")
    add_force_argument(parser)
    args = parser.parse_args(arguments)
    check_out(args, "target", "source")
    num_weights = convert_file(args.source, args.target, args.to_released)
    print(f"{args.target}: {num_weights} weights")


if __name__ == "__main__":
    run_tool(main)
