"""Run everything on a synthetic dataset: annotator, score maps, pretraining, segmentation, report.

    make demo
    mim run mmtl demo

Every step is a command that also works by hand; its output is in work_dirs/demo/logs. A second run resumes the step
that was interrupted and skips finished ones, unless their command or config has changed.
"""

import os
from pathlib import Path

from mmtl.utils.cli import run_tool, tool_parser

CONFIGS = Path(os.path.relpath(Path(__file__).resolve().parents[1] / "configs" / "demo"))


def main() -> int | None:
    """Run the demo."""
    parser = tool_parser(__doc__)
    parser.add_argument("--restart", action="store_true", help="remove the output of earlier runs first")
    parser.add_argument("--report", action="store_true", help="only write the report on a finished demo")
    args = parser.parse_args()
    if args.report:
        from mmtl.demo.report import write_report

        return print(f"Report: {write_report()}")
    from mmtl.demo.pipeline import run_demo

    return run_demo(CONFIGS, restart=args.restart)


if __name__ == "__main__":
    run_tool(main)
