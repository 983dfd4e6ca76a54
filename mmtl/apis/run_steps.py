"""Run commands in order: skip finished ones, resume an interrupted one, show progress."""

import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from mmtl.apis.run_logs import read_logs, result_of, store_position, training_position
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.processes import IS_STEP, end_group_with_this_process

STOPPED = (128 + signal.SIGINT, 128 + signal.SIGKILL, 128 + signal.SIGTERM)  # exit codes; negative: of a signal itself
RESUME, CORRECT = "The same command resumes this step.", "Correct this, then run the same command again."
INTERVAL = 60  # seconds between lines about the position of a step, if the output is not a terminal


@dataclass(frozen=True)
class Step:
    """One command of a sequence, which also works by hand."""

    name: str  # also of its log file
    title: str  # what it does, for the screen
    command: tuple[str, ...]
    out: Path  # file or folder that the command makes
    run: Path | None = None  # work directory of a training run, to show its progress
    resume: tuple[str, ...] = ()  # arguments that resume an interrupted run


def run_steps(steps: Sequence[Step], work: Path, console: Console) -> bool:
    """Run the steps in order; return whether all succeeded.

    Args:
        steps: each reads only what earlier ones made.
        work: folder of the steps' record ``steps.json`` and of their ``logs/``.
        console: screen.
    """
    progress, digest = Progress(work / "steps.json"), ""
    for index, step in enumerate(steps, 1):
        digest = fingerprint(step, digest)
        if not run_step(step, f"[bold]\\[{index}/{len(steps)}][/]", digest, progress, console):
            return False
    return True


def fingerprint(step: Step, previous: str) -> str:
    """Return a digest of a step's command, configs and lists and, through ``previous``, of all steps before it."""
    files = [Config.fromfile(word).pretty_text for word in step.command if word.endswith(".py")]
    files += [Path(word).read_text(encoding="utf-8") for word in step.command if word.endswith(".txt")]
    return hashlib.sha256("\0".join([previous, *step.command, *files]).encode()).hexdigest()[:16]


class Progress:
    """The record of the steps in a JSON file: {name: {fingerprint, seconds, finished, command}}."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps = json.loads(path.read_text()) if path.exists() else {}

    def known(self, step: Step, digest: str) -> dict:
        """Return the record of earlier attempts; empty if the command, a config or an earlier step has changed."""
        record = self.steps.get(step.name, {})
        return record if record.get("fingerprint") == digest and step.out.exists() else {}

    def write(self, step: Step, digest: str, seconds: float, finished: bool) -> None:
        """Record the time of all attempts and whether the last one succeeded."""
        times = dict(seconds=seconds, finished=finished)
        self.steps[step.name] = dict(fingerprint=digest, **times, command=shlex.join(step.command))
        with atomic_file(self.path) as part:
            part.write_text(json.dumps(self.steps, indent=2) + "\n")


def run_step(step: Step, number: str, digest: str, progress: Progress, console: Console) -> bool:
    """Run one step unless it is finished; return whether it succeeded."""
    known = progress.known(step, digest)
    before = known.get("seconds", 0.0)
    if known.get("finished"):
        console.print(f"{number} {escape(step.title)}  [green]finished before[/] in {clock(before)}{ended(step)}")
        return True
    work = progress.path.parent
    if not known and work in step.out.parents:  # never a data folder: it can contain the user's own files
        set_aside(step.out, console)
    progress.write(step, digest, before, finished=False)
    command = tuple(map(checkpoint_of, step.command)) + (step.resume if known else ())
    log, start, code = work / "logs" / f"{step.name}.log", time.monotonic(), 1
    console.print(
        f"{number} {escape(step.title)}\n      [dim]{escape(shlex.join(command))}[/]\n      log: {escape(str(log))}",
        highlight=False,
        soft_wrap=True,
    )
    with console.status("") as status:
        shown = PositionShown(step, log, console, status)
        try:
            code = run_command(command, log, shown.update, shown.stopping)
        finally:
            progress.write(step, digest, before + time.monotonic() - start, finished=code == 0)
    if code:
        console.print(last_lines(log.read_text(errors="replace")), markup=False, highlight=False, soft_wrap=True)
        console.print(f"[red]This step failed (exit code {code}).[/] Full output: {escape(str(log))}")
        console.print(RESUME if code < 0 or code in STOPPED else CORRECT)
    else:
