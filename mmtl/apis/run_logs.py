"""What steps have written: curves of training runs, the position of a running one, and results."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

SCORES = {"accuracy/top1": "top-1", "mIoU": "mIoU"}  # scalar of a validation -> how it is shown
ZERO_IOU = ("classes_with_iou_0", "classes_with_iou")  # scalars of `mmtl.ConfusionMatrixHook`
TOTAL = re.compile(r"\| steps +(\d+)")  # in the box that `mmtl.RunSummaryHook` logs


class Curve(NamedTuple):
    """A scalar over training: steps in ascending order and one value for each."""

    steps: list[int]
    values: list[float]


def read_logs(run: Path) -> dict[Path, list[dict]]:
    """Return the lines of a run's scalar logs, one log for each start, oldest first.

    The line that a running process has written only in part is left out.
    """
    paths = sorted(run.glob("*/vis_data/scalars.json"))
    logs = {path: [json.loads(line) for line in path.read_text().split("\n") if line.endswith("}")] for path in paths}
    return logs if len(logs) < 2 else {path: logs[path] for path in _in_order(logs)}


def _in_order(logs: dict[Path, list[dict]]) -> list[Path]:
    """Return logs, given in the order of their folders' times, so that each continues steps of those before it.

    The times are in another order if the clock was set back between two starts.
    """
    steps = {path: sorted({line["step"] for line in log if "step" in line}) for path, log in logs.items()}
    new = [path for path in logs if not steps[path]]  # has just started
    left, order, reached = [path for path in logs if steps[path]], [], 0
    # The first line of a resumed run is at most one interval after the last line before.
    first = {path: 2 * steps[path][0] - steps[path][:2][-1] for path in left}
    while left:
        order.append(next((path for path in left if first[path] <= reached), None) or min(left, key=first.get))
        left.remove(order[-1])
        reached = max(reached, steps[order[-1]][-1])
    return order + new


def read_curve(run: Path, key: str) -> Curve:
    """Read a scalar, such as ``loss`` or ``accuracy/top1``, of a run that may have been interrupted and resumed.

    Returns:
        Curve: without the steps after an interrupted attempt's last checkpoint, which the next attempt repeated; empty
        if the run never logged the scalar.
    """
    points: dict[int, float] = {}
    for log in read_logs(run).values():
        found = {line["step"]: line[key] for line in log if key in line and "step" in line}
        if found:
            points = {step: value for step, value in points.items() if step < min(found)} | found
    steps = sorted(points)
    return Curve(steps, [points[step] for step in steps])


def training_position(run: Path, before: Collection[Path] = ()) -> str:
    """Return the position of a run's last start, such as "step 120/500, 3 min left"; empty before its first log line.

    The total is that of the box in its log, the time left follows from the mean time of the last steps; the loss and
    the last validation follow.

    Args:
        run: work directory.
        before: scalar logs of earlier starts.
    """
    logs = [item for item in read_logs(run).items() if item[0] not in before]
    scalars, log = logs[-1] if logs else (None, [])
    line = next((line for line in reversed(log) if "loss" in line), None)
    if line is None:
        return ""
    reached = [f"loss {line['loss']:.3f}"]
    for scalar, name in SCORES.items():
        reached += [f"{name} {line[scalar]:.1f} %" for line in log if scalar in line][-1:]
    step, total = line["step"], max((total_steps(log) for log in scalars.parents[1].glob("*.log")), default=0)
    if step >= total:
        return ", ".join([f"step {step}", *reached])
    return ", ".join([f"step {step}/{total}", time_left((total - step) * line.get("time", 0)), *reached])


def store_position(log: Path, offset: int = 0) -> str:
    """Return how many images have score maps, by what the generator has printed into a log from an offset on."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(offset)
        counts = re.findall(rb"^\d+/\d+ images$", file.read(), re.MULTILINE)
    return counts[-1].decode() if counts else ""


def total_steps(log: Path) -> int:
    """Return the number of steps that a log states; 0 if it does not."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        return next((int(found[1]) for line in lines if (found := TOTAL.match(line))), 0)


def time_left(seconds: float) -> str:
    """Return a duration as a person says it: "less than a minute left", "3 min left", "2 h 5 min left"."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours and not minutes:
        return "less than a minute left"
    return f"{hours} h {minutes} min left" if hours else f"{minutes} min left"


def result_of(out: Path) -> str:
    """Return what a step reached, by the files in its output folder; empty if they do not show it."""
    if (manifest := out / "manifest.json").is_file():
        return f"{json.loads(manifest.read_text())['num_maps']} score maps"
    texts = []
    for scalar, name in SCORES.items():
        values = read_curve(out, scalar).values
        if values:
            best = f" (best {max(values):.1f} %)" * (max(values) > values[-1])
            texts.append(f"{name} {values[-1]:.1f} %{best}")
    zero, known = (read_curve(out, scalar) for scalar in ZERO_IOU)
    if zero.steps and zero.steps[-1:] == read_curve(out, "mIoU").steps[-1:]:  # is of the last validation
        texts.append(f"{zero.values[-1]:.0f} of {known.values[-1]:.0f} classes have IoU 0")
    return ", ".join(texts)
