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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from mmtl.apis.run_logs import read_logs, result_of, store_position, training_position
from mmtl.score_maps.folder_lock import FolderLock
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.config_file import config_text, leaf_dataset_cfgs, read_config
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

    Raises:
        FileExistsError: Another process runs steps in this folder.
    """
    work.mkdir(parents=True, exist_ok=True)
    with FolderLock(work):
        progress, digest = Progress(work / "steps.json"), ""
        for index, step in enumerate(steps, 1):
            digest = fingerprint(step, digest)
            if not run_step(step, f"[bold]\\[{index}/{len(steps)}][/]", digest, progress, console):
                return False
    return True


def fingerprint(step: Step, previous: str) -> str:
    """Return a digest of a step's command, configs and lists and, through ``previous``, of all steps before it."""
    configs = [Path(word) for word in step.command if word.endswith(".py")]
    lists = [Path(word) for word in step.command if word.endswith(".txt")]
    files = [config_text(path) for path in configs]
    files += [path.read_text(encoding="utf-8") for path in [*lists, *itertools.chain(*map(image_lists, configs))]]
    return hashlib.sha256("\0".join([previous, *step.command, *files]).encode()).hexdigest()[:16]


def image_lists(config: Path) -> Iterator[Path]:
    """Yield the files that list the training and validation images of a config."""
    cfg = read_config(config, warn=False)
    for loader in ("train_dataloader", "val_dataloader"):
        for dataset in leaf_dataset_cfgs((cfg.get(loader) or {}).get("dataset") or {}):
            path = Path(dataset.get("data_root") or "", dataset.get("ann_file") or "")
            if path.is_file():
                yield path


class Progress:
    """The record of the steps in a JSON file: {name: {fingerprint, seconds, finished, command, earlier}}.

    ``earlier`` lists the records of output that was set aside, each with its ``path``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.steps = json.loads(path.read_text()) if path.exists() else {}
        except ValueError as error:
            text = f"{path} must be the JSON file that records the steps, got {error}. Remove it to run all steps."
            raise ValueError(text) from error

    def known(self, step: Step, digest: str) -> dict:
        """Return the record of earlier attempts; empty if the command, a config or an earlier step has changed."""
        record = self.steps.get(step.name, {})
        return record if record.get("fingerprint") == digest and step.out.exists() else {}

    def write(self, step: Step, digest: str, seconds: float, finished: bool) -> None:
        """Record the time of all attempts and whether the last one succeeded."""
        record = dict(fingerprint=digest, seconds=seconds, finished=finished, command=shlex.join(step.command))
        if earlier := self.steps.get(step.name, {}).get("earlier"):
            record["earlier"] = earlier
        self.steps[step.name] = record
        self._save()

    def _save(self) -> None:
        with atomic_file(self.path) as part:
            part.write_text(json.dumps(self.steps, indent=2) + "\n")

    def exchange(self, step: Step, digest: str, console: Console) -> dict:
        """Set the output of another command or config aside; return the record of this one's that was set aside."""
        record = self.steps.pop(step.name, {})
        earlier = [each for each in record.pop("earlier", []) if Path(each["path"]).exists()]
        if kept := set_aside(step, record, console):
            earlier.append(dict(record, path=str(kept)))
        back = next((each for each in earlier if each.get("fingerprint") == digest), {})
        if back:
            earlier.remove(back)
            Path(back["path"]).rename(step.out)
            text = f"      {step.out} is {back['path']} again, which the same command and config made"
            console.print(text, markup=False, highlight=False)
        self.steps[step.name] = dict(back, earlier=earlier)
        self._save()
        return back


def run_step(step: Step, number: str, digest: str, progress: Progress, console: Console) -> bool:
    """Run one step unless it is finished; return whether it succeeded."""
    known, work = progress.known(step, digest), progress.path.parent
    if not known and work in step.out.parents:  # never a data folder: it can contain the user's own files
        known = progress.exchange(step, digest, console)
    before = known.get("seconds", 0.0)
    if known.get("finished"):
        console.print(f"{number} {escape(step.title)}  [green]finished before[/] in {clock(before)}{ended(step)}")
        return True
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
        now = time.monotonic() - start
        total = f", {clock(before + now)} with earlier runs" * bool(known and before)
        console.print(f"      done in {clock(now)}{total}{ended(step)}", highlight=False)
    return code == 0


def ended(step: Step) -> str:
    """Return what a finished step reached, to end a line with."""
    return f": {result}" if (result := result_of(step.out)) else ""


class PositionShown:
    """Shows time and position of a step: in one line of a terminal, else in a line a minute.

    Args:
        step: the step that is about to run.
        log: file of its output.
        console: screen.
        status: its line that changes, which only a terminal shows.
    """

    def __init__(self, step: Step, log: Path, console: Console, status: Status) -> None:
        self.step, self.log, self.console, self.status = step, log, console, status
        # Of earlier attempts: what these have reached is not the position of this one.
        self.before = set(read_logs(step.run)) if step.run else set()
        self.offset = log.stat().st_size if log.exists() else 0
        self.start, self.last, self.printed = time.monotonic(), -INTERVAL, ""

    def update(self) -> None:
        """Show the present position."""
        run = self.step.run
        position = training_position(run, self.before) if run else store_position(self.log, self.offset)
        now = time.monotonic()
        starting = "starting" if run or "make_score_maps" in self.step.command else ""
        line = f"{clock(now - self.start)}  {position or starting}"
        self.status.update(line)
        if not self.console.is_terminal and position != self.printed and now - self.last >= INTERVAL:
            self.console.print(f"      {line}", markup=False, highlight=False)
            self.last, self.printed = now, position

    def stopping(self) -> None:
        """Answer Ctrl-C at once: the command may take seconds to end."""
        self.status.update("stopping ...")
        if not self.console.is_terminal:
            self.console.print("      stopping ...", markup=False, highlight=False)


def checkpoint_of(word: str) -> str:
    """Return the last checkpoint of a run for one that does not exist, such as after a change of the run's length."""
    path = Path(word)
    record = path.with_name("last_checkpoint")
    if path.suffix != ".pth" or path.exists() or not record.is_file():
        return word
    return str(path.with_name(Path(record.read_text().strip()).name))  # relative as the word is


def best_checkpoint_of(word: str) -> str:
    """Return the best checkpoint of a run, by its validations, for any other; without one, the last."""
    path = Path(word)
    best = list(path.parent.glob("best_*.pth")) if path.suffix == ".pth" else []
    return str(max(best, key=lambda file: file.stat().st_mtime)) if best else checkpoint_of(word)


def run_command(
    command: tuple[str, ...], log: Path, on_tick: Callable[[], None], on_stop: Callable[[], None] = lambda: None
) -> int:
    """Run a command with its output in a log file, and return its exit code.

    ``on_tick`` is called twice a second, ``on_stop`` before the command is ended because of Ctrl-C or an error.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # Programs of this Python's environment first, also when it is not activated.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = {**os.environ, "PATH": path, IS_STEP: "1"}
    options = dict(stderr=subprocess.STDOUT, env=env, start_new_session=True)
    if command[0] == "mmtl":  # also of a checkout that is not installed
        command = (sys.executable, "-m", *command)
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, **options)
        watcher = end_group_with_this_process(process.pid)
        try:
            while (code := process.poll()) is None:
                on_tick()
                time.sleep(0.5)
        except BaseException:
            on_stop()
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        finally:
            watcher.kill()
    return code


def last_lines(text: str, count: int = 12) -> str:
    """Return the error in which a command of mmtl ended, else the end of its output without mim's own traceback."""
    if error := re.search(r"^mmtl \w+: .*(\n  .*)*\s*\Z", text, re.MULTILINE):
        return error[0].strip()
    before, marker, last = text.rpartition("Traceback (most recent call last):")
    if marker and re.match(r'\s*File "[^"]*\bmim\b', last):
        text = before
    return "\n".join(text.strip().splitlines()[-count:])


def set_aside(step: Step, record: dict, console: Console) -> Path | None:
    """Rename the output of an earlier run, if it exists: it may be a user's result, or of another project.

    A training run of this project that failed before its first checkpoint is removed. Returns the new name.
    """
    path = step.out
    if not path.exists():
        return None
    if step.run and record.get("finished") is False and not any(step.run.rglob("*.pth")):
        remove(path)
        return None
    kept = next(name for n in itertools.count(1) if not (name := path.with_name(f"{path.name}.old-{n}")).exists())
    path.rename(kept)
    console.print(f"      {path} was made by another command or config: kept as {kept}", markup=False, highlight=False)
    return kept


def remove(path: Path) -> None:
    """Remove a file or folder if it exists."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def clock(seconds: float) -> str:
    """Return seconds as m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
