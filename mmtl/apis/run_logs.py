"""What training runs logged: curves, and the position of a running one."""

import json
from pathlib import Path
from typing import NamedTuple


class Curve(NamedTuple):
    """A scalar over training: steps in ascending order and one value for each."""

    steps: list[int]
    values: list[float]


def read_logs(run: Path) -> list[list[dict]]:
    """Return the lines of a run's scalar logs, one log for each start, oldest first.

    The line that a running process has written only in part is left out.
    """
    paths = sorted(run.glob("*/vis_data/scalars.json"))
    return [[json.loads(line) for line in path.read_text().split("\n") if line.endswith("}")] for path in paths]


def read_curve(run: Path, key: str) -> Curve:
    """Read a scalar, such as ``loss`` or ``accuracy/top1``, of a run that may have been interrupted and resumed.

    Returns:
        Curve: without the steps after an interrupted attempt's last checkpoint, which the next attempt repeated; empty
        if the run never logged the scalar.
    """
    points: dict[int, float] = {}
    for log in read_logs(run):
        found = {line["step"]: line[key] for line in log if key in line and "step" in line}
        if found:
            points = {step: value for step, value in points.items() if step < min(found)} | found
    steps = sorted(points)
    return Curve(steps, [points[step] for step in steps])


def training_position(run: Path) -> str:
    """Return epoch, step and loss of a run's last log line; empty before the first."""
    lines = [line for log in read_logs(run) for line in log if "loss" in line]
    if not lines:
        return ""
    epoch = f"epoch {lines[-1]['epoch']}, " if "epoch" in lines[-1] else ""
    return f"{epoch}step {lines[-1]['step']}, loss {lines[-1]['loss']:.3f}"
