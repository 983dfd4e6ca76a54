"""What the demo's training runs reached: the record of its steps, the final table."""

import json
from pathlib import Path

from mmtl.apis.run_logs import read_curve

# Run, model, measure, scalar in the run's log.
MEASURED = [
    ("annotator", "Annotator: a ResNet", "top-1", "accuracy/top1"),
    ("class_labels", "LV-ViT, class labels only", "top-1", "accuracy/top1"),
    ("token_labels", "LV-ViT, token labels + MixToken", "top-1", "accuracy/top1"),
    ("segmentation_class_labels", "UperNet on LV-ViT, class labels only", "mIoU", "mIoU"),
    ("segmentation_token_labels", "UperNet on LV-ViT, token labels + MixToken", "mIoU", "mIoU"),
]


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
