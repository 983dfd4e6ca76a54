"""Train a config with the script of MMPretrain or MMSegmentation, by its default_scope.

    mim train mmtl CONFIG --work-dir WORK_DIR

CONFIG is a file, or the name of a config of mmtl. All options are passed on: they are those of
`mim train mmpretrain` and `mim train mmsegmentation`, such as --resume, --amp and --cfg-options.
"""

import sys

from mmtl.utils.cli import run_tool, tool_parser


def main() -> None:
    """Run the other script in place of this one."""
    from mmtl.apis.hand_over import hand_over

    if {"-h", "--help"} & set(sys.argv[1:]):
        tool_parser(__doc__).print_help()
    else:
        hand_over("train", sys.argv[1:])


if __name__ == "__main__":
    run_tool(main, advice="Add --resume to continue from the last checkpoint.")
