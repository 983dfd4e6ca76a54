"""What a training run of mmengine left behind, read from its scalars."""

import json
from pathlib import Path
from typing import NamedTuple


class Curve(NamedTuple):
    """A scalar over training: steps in ascending order and one value for each."""

    steps: list[int]
    values: list[float]


def scalar_files(run: Path) -> list[Path]:
    """The scalar logs of a run, one for each time it was started, oldest first."""
    return sorted(run.glob("*/vis_data/scalars.json"))


def _read_lines(path: Path) -> list[dict]:
    """The lines of a log; the last one may be half written while the run goes on."""
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def read_curve(run: Path, key: str) -> Curve:
    """Read a scalar of a run that may have been interrupted and resumed.

    Args:
        run: the run's work directory.
        key: the scalar's name, such as 'loss' or 'accuracy/top1'.

    Returns:
        Curve: empty when the run never logged it. What an interrupted attempt did after its last checkpoint is
        dropped: the resumed attempt did it again.
    """
    points: dict[int, float] = {}
    for path in scalar_files(run):
        found = {line["step"]: line[key] for line in _read_lines(path) if key in line and "step" in line}
        if found:
            points = {step: value for step, value in points.items() if step < min(found)} | found
    steps = sorted(points)
    return Curve(steps, [points[step] for step in steps])


def training_position(run: Path) -> str:
    """Where a run stands, in a few words for the screen; empty before its first log line."""
    for path in reversed(scalar_files(run)):
        for line in reversed(_read_lines(path)):
            if "loss" in line:
                epoch = f"epoch {line['epoch']}, " if "epoch" in line else ""
                return f"{epoch}step {line['step']}, loss {line['loss']:.3f}"
    return ""
