"""Test a checkpoint with the script of MMPretrain or MMSegmentation, by the default_scope of its config.

    mim test mmtl CONFIG --checkpoint CHECKPOINT

CONFIG is a file, or the name of a config of mmtl. All options are passed on: they are those of
`mim test mmpretrain` and `mim test mmsegmentation`, such as --resume, --amp and --cfg-options.
"""

import sys

from mmtl.utils.cli import run_tool, tool_parser


def main() -> None:
    """Run the other script in place of this one."""
    from mmtl.apis.hand_over import hand_over

    if {"-h", "--help"} & set(sys.argv[1:]):
        tool_parser(__doc__).print_help()
    else:
        hand_over("test", sys.argv[1:])


if __name__ == "__main__":
    run_tool(main)
