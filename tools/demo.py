"""The whole line on a drawn data set: annotator, score maps, pretraining, segmentation, report.

    make demo
    mim run mmtl demo

Every step is a command that also works by hand; its output goes to work_dirs/demo/logs. Run again, the demo takes up
the step that was interrupted and repeats none that is finished, unless its command or config has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from demo_report import RESULTS_HEAD, results
from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmtl.demo import training_position
from mmtl.utils.atomic_file import atomic_file

TOOLS = Path(__file__).resolve().parent
CONFIGS = Path(os.path.relpath(TOOLS.parent / "configs" / "demo"))
WORK = Path("work_dirs/demo")
DATA = Path("data/demo")
STATE = WORK / "steps.json"


@dataclass(frozen=True)
class Step:
    """One command of the demo.

    Args:
        name: short name, also of its log file.
        title: what it does, for the screen.
        command: the command line as a user types it.
        out: folder or file that it makes.
        run: folder of the training run that it makes, for the progress on screen.
        resume: what is added to the command to take up an interrupted run.
    """

    name: str
    title: str
    command: tuple[str, ...]
    out: Path
    run: Path | None = None
    resume: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command as one line for a shell."""
        return shlex.join(self.command)


def config_path(stem: str) -> str:
    """Path of a demo config."""
    return (CONFIGS / f"{stem}.py").as_posix()


def train_step(name: str, title: str, codebase: str, config: str) -> Step:
    """A training run through mim, on the CPU."""
    command = ("mim", "train", codebase, config, "--gpus", "0")
    return Step(name, title, command, WORK / name, run=WORK / name, resume=("--resume",))


def make_steps() -> list[Step]:
    """The demo's steps in order; each needs what those before it made."""
    annotator = config_path("resnet-nano_1xb32-9e_demo")
    segmentation = config_path("lvvit-nano_upernet_1xb16-tokenlabel-300i_demo-64x80")
    images, score_maps, predictions = DATA / "classification" / "train", WORK / "score_maps", WORK / "predictions"
    annotator_weights = WORK / "annotator" / "epoch_9.pth"
    segmentation_weights = WORK / "segmentation_token_labels" / "iter_300.pth"
    make_maps = ("mim", "run", "mmtl", "make_score_maps", annotator)
    test = ("mim", "test", "mmsegmentation", segmentation, "--checkpoint", str(segmentation_weights), "--gpus", "0")
    test_out = ("--work-dir", str(predictions), "--out", str(predictions / "masks"))
    return [
        Step("data", "Draw the data set", ("mim", "run", "mmtl", "make_demo_data", str(DATA)), DATA),
        train_step("annotator", "Train the annotator, a small CNN", "mmpretrain", annotator),
        Step(
            "score_maps",
            "Make score maps",
            (*make_maps, str(annotator_weights), str(images), str(score_maps)),
            score_maps,
        ),
        train_step(
            "token_labels",
            "Pretrain LV-ViT with token labels and MixToken",
            "mmpretrain",
            config_path("lvvit-nano_1xb32-tokenlabel-6e_demo"),
        ),
        train_step("segmentation_token_labels", "Fine-tune UperNet on it", "mmsegmentation", segmentation),
        Step("predictions", "Segment the validation images", (*test, *test_out), predictions),
        train_step(
            "class_labels",
            "For comparison: pretrain with class labels alone",
            "mmpretrain",
            config_path("lvvit-nano_1xb32-classlabel-6e_demo"),
        ),
        train_step(
            "segmentation_class_labels",
            "Fine-tune UperNet on that",
            "mmsegmentation",
            config_path("lvvit-nano_upernet_1xb16-classlabel-300i_demo-64x80"),
        ),
        Step("report", "Write the report", ("mim", "run", "mmtl", "demo_report", str(WORK)), WORK / "report.html"),
    ]


def fingerprint(step: Step, before: str) -> str:
    """Digest of a step's command and configs and of all steps before it."""
    configs = [Config.fromfile(word).pretty_text for word in step.command if word.endswith(".py")]
    return hashlib.sha256("\0".join([before, step.line, *configs]).encode()).hexdigest()[:16]


class Progress:
    """What is known of the steps, kept in a file: {name: {fingerprint, seconds, finished, command}}."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps = json.loads(path.read_text()) if path.exists() else {}

    def is_finished(self, step: Step, digest: str) -> bool:
        """Whether the step was finished with this very command and config and its output is still there."""
        known = self.steps.get(step.name, {})
        return known.get("fingerprint") == digest and known["finished"] and step.out.exists()

    def begin(self, step: Step, digest: str) -> bool:
        """Note that the step is under way; return whether an interrupted attempt can be taken up."""
        known = self.steps.get(step.name, {})
        taken_up = known.get("fingerprint") == digest and not known["finished"] and step.out.exists()
        seconds = known["seconds"] if taken_up else 0.0
        self._write(step, fingerprint=digest, seconds=seconds, finished=False, command=step.line)
        return taken_up

    def spend(self, step: Step, seconds: float, finished: bool) -> None:
        """Add the time of an attempt."""
        known = self.steps[step.name]
        self._write(step, **{**known, "seconds": known["seconds"] + seconds, "finished": finished})

    def _write(self, step: Step, **entry: object) -> None:
        self.steps[step.name] = entry
        with atomic_file(self.path) as part:
            part.write_text(json.dumps(self.steps, indent=2) + "\n")


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def call(command: tuple[str, ...], log: Path, watch: Callable[[], None]) -> int:
    """Run a command with its output in a log file, calling `watch` twice a second; return its exit code."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # First the programs of this very Python, also when its environment is not activated.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, "PATH": path})
        try:
            while (code := process.poll()) is None:
                watch()
                time.sleep(0.5)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return code


def last_lines(text: str, count: int = 12) -> str:
    """End of a program's output, without the traceback by which mim adds that the program failed."""
    before, marker, last = text.rpartition("Traceback (most recent call last):")
    if marker and re.match(r'\s*File "[^"]*\bmim\b', last):
        text = before
    return "\n".join(text.strip().splitlines()[-count:])


def clock(seconds: float) -> str:
    """Seconds as m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def run_step(step: Step, number: str, digest: str, progress: Progress, console: Console) -> bool:
    """Run one step unless it is finished; return whether it succeeded."""
    if progress.is_finished(step, digest):
        console.print(
            f"{number} {step.title}  [green]finished before[/] in {clock(progress.steps[step.name]['seconds'])}"
        )
        return True
    taken_up = progress.begin(step, digest)
    if not taken_up and WORK in step.out.parents:  # never a data folder: it may be the user's own
        remove(step.out)
    console.print(f"{number} {step.title}\n      [dim]{step.line}[/]", highlight=False, soft_wrap=True)
    log, start = WORK / "logs" / f"{step.name}.log", time.monotonic()
    code = 1
    with console.status("") as status:

        def watch() -> None:
            detail = training_position(step.run) if step.run else ""
            status.update(f"{clock(time.monotonic() - start)}  {detail}")

        try:
            code = call(step.command + (step.resume if taken_up else ()), log, watch)
        finally:
            progress.spend(step, time.monotonic() - start, finished=code == 0)
    if code:
        console.print(last_lines(log.read_text(errors="replace")), markup=False, highlight=False, soft_wrap=True)
        console.print(f"[red]This step failed (exit code {code}).[/] Its whole output: {log}")
        return False
    console.print(f"      done in {clock(time.monotonic() - start)}", highlight=False)
    return True


def run_steps(steps: list[Step], console: Console) -> bool:
    """Run the steps in order; return whether all succeeded."""
    progress, digest = Progress(STATE), ""
    for index, step in enumerate(steps, 1):
        digest = fingerprint(step, digest)
        if not run_step(step, f"[bold]\\[{index}/{len(steps)}][/]", digest, progress, console):
            return False
    return True


def results_table(work: Path) -> Table:
    """The results for the screen."""
    shown = Table(title="Results of the demo", title_justify="left")
    for column in RESULTS_HEAD:
        shown.add_column(column)
    for row in results(work):
        shown.add_row(*(f"{value:.2f}" if isinstance(value, float) else value for value in row))
    return shown


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restart", action="store_true", help="forget what earlier runs finished")
    return parser.parse_args()


def main() -> int:
    """Run the demo and say where the report is."""
    args, console, start = parse_args(), Console(), time.monotonic()
    if args.restart:
        remove(WORK)
    try:
        if not run_steps(make_steps(), console):
            return 1
    except KeyboardInterrupt:
        console.print("Stopped. Run the demo again to go on from here.")
        return 130
    console.print(results_table(WORK))
    console.print(f"Report: {(WORK / 'report.html').resolve()}   ({clock(time.monotonic() - start)} altogether)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
