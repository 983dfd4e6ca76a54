"""Copy a config of mmtl to a file of your own, complete: without `_base_`, so that it works in any folder.

mmtl config lvvit-small_upernet_1xb8-20k_owndata-512x512 -o my_segmentation.py
mmtl config NAME -o FILE --cfg-options train_dataloader.batch_size=4
"""

import shlex
from argparse import ArgumentParser

from mmtl.utils.cli import add_config_arguments, add_force_argument, add_out_argument


def main(parser: ArgumentParser, arguments: list[str]) -> None:
    """Write one config file."""
    add_config_arguments(parser, "name of a config (`mmtl list` shows them), or a file")
    add_out_argument(parser, "file to write, .py")
    add_force_argument(parser)
    args = parser.parse_args(arguments)
    from mmtl.apis.copy_config import copy_config

    copy_config(args.config, args.out, args.cfg_options, replace=args.force)
    print(f"{args.out}: train it with `{shlex.join(['mmtl', 'train', str(args.out)])}`")
