"""Write the demo's report, WORK/report.html, from the output of its runs.

mim run mmtl demo_report work_dirs/demo
"""

from pathlib import Path

from mmtl.demo.report import write_report
from mmtl.utils.cli import run_tool, tool_parser


def main() -> None:
    """Write the report."""
    parser = tool_parser(__doc__)
    parser.add_argument("work", type=Path, metavar="WORK", help="the demo's folder, such as work_dirs/demo")
    print(f"Report: {write_report(parser.parse_args().work)}")


if __name__ == "__main__":
    run_tool(main)
