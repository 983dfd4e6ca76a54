"""Run everything on a synthetic dataset: annotator, score maps, pretraining, segmentation, report.

    make demo
    mmtl demo

Every step is a command that also works by hand; its output is in work_dirs/demo/logs. A second run resumes the step
that was interrupted and skips finished ones, unless their command or config has changed.
"""

import os
from argparse import ArgumentParser
from pathlib import Path

from mmtl.utils.shipped_files import shipped_folder


def main(parser: ArgumentParser, arguments: list[str]) -> int | None:
    """Run the demo."""
    parser.add_argument("--restart", action="store_true", help="remove the output of earlier runs first")
    parser.add_argument("--report", action="store_true", help="only write the report on a finished demo")
    args = parser.parse_args(arguments)
    if args.report:
        from mmtl.demo.report import write_report  # imports torch and the codebases, which takes seconds

        return print(f"Report: {write_report()}")
    from mmtl.demo.pipeline import run_demo

    configs = Path(os.path.relpath(shipped_folder("configs") / "demo"))
    return run_demo(configs, restart=args.restart)
