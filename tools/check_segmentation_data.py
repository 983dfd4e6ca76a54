"""Look at every image and annotation of a segmentation config before a long run does.

python tools/check_segmentation_data.py CONFIG
mim run mmtl check_segmentation_data CONFIG --jobs 8 --cfg-options train_dataloader.dataset.data_root=/data/ade

Finds images without annotation and the other way round, unreadable and cut-short files, annotations of another size
than their image, in colours, or with labels outside the classes (after reduce_zero_label and label map, as the loss
sees them), empty splits, and class counts that do not agree. Prints how often each class occurs. Exit code 1 when
something is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmtl.datasets.segmentation_check import Split, pair_reports, read_splits
from mmtl.utils.config_file import read_config

SHOWN = 10  # problems of a kind that are printed without --all


def main(arguments: list[str] | None = None) -> int:
    """Check a config's data; exit code 1 when something is wrong."""
    args = parse_args(arguments)
    try:
        splits = check(args.config, args.jobs, args.cfg_options)
    except (OSError, ValueError) as error:
        sys.exit(f"check_segmentation_data: {error}")
    Console().print(class_table(splits))
    for split in splits:
        print_absent(split)
    count = sum(len(split.problems) for split in splits)
    for split in splits:
        print_problems(split, None if args.all else SHOWN)
    pairs = sum(len(split.pairs) for split in splits)
    print(f"{pairs} pairs, problems: {count}" if count else f"{pairs} pairs: all is well")
    return int(count > 0)


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a segmentation config")
    parser.add_argument("--jobs", type=int, default=min(8, os.cpu_count() or 1), help="processes that read")
    parser.add_argument("--all", action="store_true", help=f"print every problem, not {SHOWN} of a kind")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="config changes, key=value")
    return parser.parse_args(arguments)


def check(config: Path, jobs: int, cfg_options: dict | None = None) -> list[Split]:
    """Look at all pairs of a config's data sets.

    Raises:
        OSError: The config cannot be read.
        ValueError: The config has no data set, or there is no process to read with.
    """
    if jobs < 1:
        raise ValueError(f"--jobs {jobs}: at least 1 is wanted")
    cfg = read_config(config)
    cfg.merge_from_dict(cfg_options or {})
    init_default_scope(cfg.get("default_scope", "mmseg"))
    splits = read_splits(cfg)
    with pair_reports(splits, jobs) as reports:
        for split, report in track(reports, "check", total=sum(len(split.pairs) for split in splits)):
            split.add(report)
    return splits


def class_table(splits: Sequence[Split]) -> Table:
    """Every class with the images that it occurs in and its share of the labelled pixels, split by split."""
    table = Table(title="Classes: images, and percent of the labelled pixels", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("class")
    for split in splits:
        table.add_column(f"{split.name}\nimages", justify="right")
        table.add_column("\npixels %", justify="right")
    names = max((split.classes for split in splits), key=len, default=())
    count = max([len(names), *(split.check.num_classes for split in splits if split.check)])
    for label in range(count):
        cells = []
        for split in splits:
            total = split.pixels[:count].sum()
            cells += [str(split.images[label]), f"{100 * split.pixels[label] / total:.2f}" if total else "-"]
        table.add_row(str(label), names[label].strip() if label < len(names) else f"class {label}", *cells)
    table.add_section()
    for title, rows in (("ignored", "ignored"), ("outside the classes", "outside")):
        cells = []
        for split in splits:
            ignored = split.check.ignore_index if split.check else 255
            labels = [ignored] if rows == "ignored" else [i for i in range(count, 256) if i != ignored]
            total = split.pixels.sum()
            cells += ["", f"{100 * split.pixels[labels].sum() / total:.2f}" if total else "-"]
        table.add_row("", f"{title}, % of all", *cells)
    return table


def print_absent(split: Split) -> None:
    """Say which classes a split never shows; a class that training never sees cannot be learnt."""
    absent = [name.strip() for name, images in zip(split.classes, split.images, strict=False) if not images]
    if absent and split.pairs:
        more = f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        print(f"{split.name}: no pixel of {', '.join(absent[:SHOWN])}{more}")


def print_problems(split: Split, most: int | None) -> None:
    """Print problems by kind, at most so many of each."""
    seen: Counter[str] = Counter()
    kinds = Counter(problem.kind for problem in split.problems)
    for problem in sorted(split.problems, key=lambda problem: problem.kind):
        seen[problem.kind] += 1
        if seen[problem.kind] == 1:
            print(f"\n{split.name}: {problem.kind} ({kinds[problem.kind]})")
        if most is None or seen[problem.kind] <= most:
            print(f"  {problem.text}")
        elif seen[problem.kind] == most + 1:
            print(f"  and {kinds[problem.kind] - most} more (--all)")


if __name__ == "__main__":
    sys.exit(main())
