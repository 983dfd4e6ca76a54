"""Test a checkpoint with the script of MMPretrain or MMSegmentation, by the default_scope of its config.

    mmtl test CONFIG CHECKPOINT [--tta] [--out FILE] [--show-dir DIR] [--worst N] [--cfg-options KEY=VALUE ...]
    mim test mmtl CONFIG --checkpoint CHECKPOINT

CONFIG is a file, or the name of a config of mmtl. All other options are passed on: they are those of
`mim test mmpretrain` and `mim test mmsegmentation`. `--worst 20` writes the 20 images with the largest loss (class
labels) or the smallest IoU (masks) to worst_images in the folder of the log, drawn and in a table.
`--launcher pytorch` starts one process per GPU, or as many as `--processes`.
"""

from argparse import ArgumentParser

from mmtl.utils.cli import print_upstream_help


def main(parser: ArgumentParser, arguments: list[str]) -> int:
    """Test one checkpoint."""
    if {"-h", "--help"} & set(arguments):
        print_upstream_help(parser)
        return 0
    from mmtl.apis.hand_over import hand_over

    return hand_over("test", arguments, keep_traceback=not parser.prog.startswith("mmtl "))
