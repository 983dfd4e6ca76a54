"""Make masks of class indices, as training needs them, from other masks or from polygons, and check the result.

    mmtl convert_masks MASKS OUT                     masks of colors, of gray levels, or of 0 and 255
    mmtl convert_masks LABELME_FOLDER OUT            polygons, rectangles and circles of labelme
    mmtl convert_masks instances.json OUT            polygons and run-length masks of COCO
    mmtl convert_masks MASKS OUT --classes road,car --ignore "#000000"
    mmtl convert_masks MASKS OUT --classes "#804080=road,#4682b4=sky,#000000=other"

OUT gets a PNG with a palette for each mask, of the same name, and classes.json with names and colors of the classes,
which `mmtl start` reads. Polygons get the background as class 0, unless --classes has it elsewhere. Pixels of value
255 in the result have no class. OUT must be new, empty, or of an earlier conversion of the same files, which is
replaced; after an error nothing is written.
"""

import json
from argparse import ArgumentParser
from pathlib import Path

from mmtl.utils.text import in_line, split_names


def main(parser: ArgumentParser, arguments: list[str]) -> None:
    """Convert masks, print the classes for a config, and how to go on."""
    parser.add_argument("source", type=Path, help="folder of masks or of labelme's JSON files, or a COCO JSON file")
    parser.add_argument("out", type=Path, help="folder to write")
    help_text = "names in the order of the indices, or VALUE=NAME, as CSV (default: of the source)"
    parser.add_argument("--classes", help=help_text)
    parser.add_argument("--ignore", metavar="VALUE", help="gray level or #rrggbb color of pixels without a class")
    args = parser.parse_args(arguments)
    names = split_names(args.classes or "")
    from mmtl.apis.convert_masks import convert_masks, next_step

    count, table = convert_masks(args.source, args.out, names, args.ignore)
    print(f"{args.out}: {count} mask{'s' * (count != 1)} of {len(table.classes)} classes")
    lines = [table.legend] if table.sources else []
    print(*map(in_line, [*lines, *table.notes, f"masks with each class: {table.occurrences}"]), sep="\n")
    print(f"For a config:\nclasses = {json.dumps(table.classes, ensure_ascii=False)}\npalette = {table.palette}")
    print(f"Next: {next_step(args.out)}")
