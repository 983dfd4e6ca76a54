"""List the configs that come with mmtl, or only those whose names contain all given words.

    mmtl list
    mmtl list small ade20k

Names work in place of files: `mmtl train NAME`, `mmtl config NAME -o FILE`. `mmtl -h` lists the commands.
"""

from argparse import ArgumentParser
from itertools import groupby

from mmtl.cli.main import help_text
from mmtl.utils.shipped_files import shipped_configs


def main(parser: ArgumentParser, arguments: list[str]) -> int:
    """Print commands and configs; exit code 1 if no config has the words."""
    parser.add_argument("words", nargs="*", metavar="WORD", help="part of a config's name or folder")
    args = parser.parse_args(arguments)
    configs = [path for path in shipped_configs().values() if all(word in str(path)[-120:] for word in args.words)]
    if not args.words:
        print(help_text() + "\n\nconfigs:")
    for folder, paths in groupby(configs, key=lambda path: path.parent.name):
        print(f"  {folder}/", *(f"    {path.stem}" for path in paths), sep="\n")
    return int(not configs)
