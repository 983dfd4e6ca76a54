"""A folder of configs that are trained in order; `mmtl start` makes one."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from mmtl.apis.run_logs import result_of
from mmtl.apis.run_steps import Progress, Step, best_checkpoint_of, clock, remove, run_steps
from mmtl.apis.start.edited import check_project
from mmtl.score_maps.folder_lock import FolderLock
from mmtl.utils.atomic_file import atomic_file
from mmtl.utils.config_file import read_config

STEPS_NAME = "steps.json"
NOTE = "   # "  # between a command and what it gives, for the user


def train_step(name: str, title: str, config: Path, run: Path) -> Step:
    """Return the training of a config, whose work directory is ``run``."""
    return Step(name, title, ("mmtl", "train", str(config)), out=run, run=run, resume=("--resume",))


def config_step(config: Path) -> Step:
    """Return the training of a config in its own work directory."""
    work_dir = read_config(config).get("work_dir") or Path("work_dirs") / config.stem
    return train_step(config.stem, f"Train {config.name}", config, Path(work_dir))


def default_out(images: Path) -> Path:
    """Return the folder of the configs that `mmtl start` makes for a folder of images."""
    return Path(f"{images.resolve().name}-mmtl")


def write_steps(folder: Path, work: Path, steps: Sequence[Step], then: Sequence[str]) -> None:
    """Write the steps of a project.

    Args:
        folder: folder of the configs.
        work: folder of everything that the steps make.
        steps: in order; their paths are relative to the current directory.
        then: commands to run after them, each with or without a `NOTE`, for the user.
    """
    content = dict(work=work, steps=[asdict(step) for step in steps], then=list(then))
    with atomic_file(folder / STEPS_NAME) as part:
        part.write_text(json.dumps(content, indent=2, default=str) + "\n")


def read_steps(folder: Path) -> tuple[Path, list[Step], list[str]]:
    """Return the work folder, the steps, and the commands after them.

    They are those of `write_steps`. Without its file, the folder's configs are trained in the order of their names.
    """
    path, configs = folder / STEPS_NAME, sorted(folder.glob("*.py"))
    if not path.is_file() and configs:
        return Path("work_dirs") / folder.resolve().name, [config_step(config) for config in configs], []
    if not path.is_file():
        made = default_out(folder)
        remedy = f"Did you mean {made}?" if made.is_dir() else "Give a config, or a folder that `mmtl start` has made."
        raise FileNotFoundError(f"{path} does not exist. {remedy}")
    try:
        content = json.loads(path.read_text())
        steps = [
            Step(
                name=row["name"],
                title=row["title"],
                command=tuple(row["command"]),
                out=Path(row["out"]),
                run=row["run"] and Path(row["run"]),
                resume=tuple(row["resume"]),
            )
            for row in content["steps"]
        ]
        return Path(content["work"]), steps, content["then"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as steps: {error!r}. Make it again with `mmtl start`.") from error


def run_project(folder: Path, restart: bool = False, until: str | None = None) -> int:
    """Run the steps of a folder, show time and result of each, and return the exit code.

    Args:
        folder: folder of the configs.
        restart: whether the output of earlier runs is removed first.
        until: name or number of the last step to run; None for all.
    """
    work, steps, then = read_steps(folder)
    check_location(folder, steps)
    console = Console(highlight=False, soft_wrap=True)
    configs = dict.fromkeys(Path(word) for step in steps for word in step.command if word.endswith(".py"))
    for text in check_project([*configs], [step.out for step in steps]):
        console.print(f"WARNING: {text}", markup=False)
    count = len(steps) if until is None else number_of(until, steps)
    steps, later = steps[:count], steps[count:]
    if later:
        browse = [["mmtl", "browse_samples", later[0].command[2]]] if later[0].run else []
        then = [*map(shlex.join, browse), shlex.join(["mmtl", "train", str(folder)])]
    if restart and work.exists():
        with FolderLock(work):
            for path in work.iterdir():
                remove(path)
    if not run_steps(steps, work, console):
        return 1
    console.print("\nTime and result of each step:")
    record = Progress(work / "steps.json").steps
    for step in steps:
        line = f"{clock(record[step.name]['seconds']):>8}  {step.title}"
        console.print(": ".join(filter(None, (line, result_of(step.out)))), markup=False)
    if then:
        then = [with_best_checkpoint(line) for line in then]
        then += [f"{images}{NOTE}images of the last validation" for images in images_of(steps)]
        console.print("\nNext:", *(f"  {line}" for line in then), sep="\n", markup=False)
    return 0


def check_location(folder: Path, steps: Sequence[Step]) -> None:
    """Raise FileNotFoundError if the steps' paths are of another current folder."""
    config = next((Path(word) for step in steps for word in step.command if word.endswith(".py")), None)
    if config is None or config.exists() or not (folder / config.name).exists():
        return
    here, relative = folder.resolve(), config.parent
    start = Path(*here.parts[: len(here.parts) - len(relative.parts)])
    known = not relative.is_absolute() and start / relative == here
    remedy = f"Run it there: cd {start} && mmtl train {relative}" if known else "Run it there."
    raise FileNotFoundError(f"{config} must exist: paths start at the folder in which `mmtl start` ran. {remedy}")


def number_of(step: str, steps: Sequence[Step]) -> int:
    """Return the number of a step, from 1, by its name or number."""
    names = [each.name for each in steps]
    if step.isdecimal() and 1 <= int(step) <= len(steps):
        return int(step)
    if step not in names:
        raise ValueError(f"--until must be one of {', '.join(names)}, or a number from 1 to {len(steps)}, got {step}.")
    return names.index(step) + 1


def images_of(steps: Sequence[Step]) -> list[Path]:
    """Return the last image of tokens that the last training has drawn, or else the folder of its images, if any."""
    runs = [step.run for step in steps if step.run]
    drawn = sorted(runs[-1].glob("*/vis_data/vis_image/*.png"), key=lambda path: path.stat().st_mtime) if runs else []
    tokens = [path for path in drawn if path.name.startswith("token_labels_")]
    return tokens[-1:] or [path.parent for path in drawn[-1:]]


def with_best_checkpoint(line: str) -> str:
    """Return a command, and the note after it, with the best checkpoint of a run in place of another one."""
    command, mark, note = line.partition(NOTE)
    return shlex.join(map(best_checkpoint_of, shlex.split(command))) + mark + note
