"""Train a config, or the configs of a folder in order, with the script of MMPretrain or MMSegmentation.

    mmtl train CONFIG [--resume] [--amp] [--work-dir DIR] [--cfg-options KEY=VALUE ...]
    mmtl train CONFIG --launcher pytorch --processes 8
    mmtl train FOLDER [--until STEP] [--restart]
    mim train mmtl CONFIG

CONFIG is a file, or the name of a config of mmtl. Its default_scope selects the script, which gets all other options:
they are those of `mim train mmpretrain` and `mim train mmsegmentation`. `--launcher pytorch` starts one process per
GPU, or as many as `--processes`; under torchrun or srun the command joins the processes that these have started.

FOLDER is made by `mmtl start`: its steps.json lists the steps. Without such a file, its configs are trained in the
order of their names. Finished steps are skipped and an interrupted one is resumed, unless its command or config has
changed: the output is then set aside, and taken back when the change is undone. --restart removes the output of
earlier runs first. --until STEP ends after a step, by its name (teacher, score_maps, student) or number: samples can
be checked before the next one.
"""

from argparse import ArgumentParser
from pathlib import Path

from mmtl.utils.cli import print_upstream_help


def main(parser: ArgumentParser, arguments: list[str]) -> int:
    """Train a config, or run the steps of a folder."""
    if {"-h", "--help"} & set(arguments):
        print_upstream_help(parser)
        return 0
    folders = [word for word in arguments if Path(word).is_dir()]
    pairs = zip(["", *arguments], arguments, strict=False)
    first = next((word for before, word in pairs if before != "--until" and not word.startswith("-")), None)
    if folders and first in folders:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--until", metavar="STEP")
        parser.add_argument("--restart", action="store_true")
        args = parser.parse_args(arguments)
        from mmtl.apis.project import run_project

        return run_project(args.folder, args.restart, args.until)
    from mmtl.apis.hand_over import hand_over

    return hand_over("train", arguments, keep_traceback=not parser.prog.startswith("mmtl "))
