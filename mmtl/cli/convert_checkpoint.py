"""Convert a released LV-ViT checkpoint (classifier or segmentor) for mmtl, or the other way round.

mmtl convert_checkpoint lvvit_s-224-83.3.pth.tar checkpoints/lvvit-small_in1k.pth
mmtl convert_checkpoint work_dirs/NAME/epoch_310.pth released.pth --to-released
"""

from argparse import ArgumentParser
from pathlib import Path

from mmtl.utils.cli import add_force_argument, check_out


def main(parser: ArgumentParser, arguments: list[str]) -> None:
    """Convert one file."""
    parser.add_argument("source", type=Path, help="checkpoint to read")
    parser.add_argument("target", type=Path, help="checkpoint to write")
    parser.add_argument("--to-released", action="store_true", help="convert mmtl's names to the released ones")
    add_force_argument(parser)
    args = parser.parse_args(arguments)
    check_out(args, "target", "source")
    from mmtl.apis.convert import convert_file

    num_weights = convert_file(args.source, args.target, args.to_released)
    print(f"{args.target}: {num_weights} weights")
