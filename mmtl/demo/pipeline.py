"""Run the demo's steps and show its results."""

import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmtl.apis.run_steps import clock, remove, run_steps
from mmtl.demo.results import results
from mmtl.demo.steps import WORK, make_steps


def run_demo(configs: Path, restart: bool = False) -> int:
    """Run the demo with the configs in a folder, show its results and return the exit code."""
    console, start = Console(), time.monotonic()
    if restart:
        remove(WORK)
    if not run_steps(make_steps(configs), WORK, console):
        return 1
    table = Table("model", "measure", "%", "minutes", title="Results of the demo", title_justify="left")
    for row in results(WORK):
        table.add_row(*(f"{value:.2f}" if isinstance(value, float) else value for value in row))
    console.print(table)
    console.print(
        f"Report: {escape(str((WORK / 'report.html').resolve()))}   ({clock(time.monotonic() - start)} in total)"
    )
    return 0
