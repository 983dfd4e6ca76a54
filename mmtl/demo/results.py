"""What the demo's training runs logged: curves, the position of a running one, the final table."""

import json
from pathlib import Path
from typing import NamedTuple

# Run, model, measure, scalar in the run's log.
MEASURED = [
    ("annotator", "Annotator: a ResNet", "top-1", "accuracy/top1"),
    ("class_labels", "LV-ViT, class labels only", "top-1", "accuracy/top1"),
    ("token_labels", "LV-ViT, token labels + MixToken", "top-1", "accuracy/top1"),
    ("segmentation_class_labels", "UperNet on LV-ViT, class labels only", "mIoU", "mIoU"),
    ("segmentation_token_labels", "UperNet on LV-ViT, token labels + MixToken", "mIoU", "mIoU"),
]


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


def read_steps(work: Path) -> dict[str, dict]:
    """Return the record of the demo's steps: {name: {command, seconds, ...}}."""
    path = work / "steps.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. {work} must be the demo's folder: run the demo first.")
    return json.loads(path.read_text())


def results(work: Path) -> list[list[str | float]]:
    """Return the final table: model, measure, percent on the validation images, minutes of training.

    Raises:
        FileNotFoundError: A run does not exist or has not been validated yet.
    """
    steps, rows = read_steps(work), []
    for run, model, measure, scalar in MEASURED:
        values = read_curve(work / run, scalar).values
        if not values:
            raise FileNotFoundError(f"{work / run} has no validation results. Run the demo first.")
        rows.append([model, measure, values[-1], steps[run]["seconds"] / 60])
    return rows
