import io
import itertools
import re
import sys
from dataclasses import replace
from os import killpg
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from mmtl.apis import run_steps as module
from mmtl.apis.run_steps import (
    PositionShown,
    Progress,
    Step,
    best_checkpoint_of,
    checkpoint_of,
    fingerprint,
    last_lines,
    remove,
    run_steps,
)
from mmtl.score_maps.folder_lock import FolderLock

WORK = Path("work")


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Return a function that runs steps in an empty folder and returns (succeeded, screen)."""
    monkeypatch.chdir(tmp_path)

    def run(*steps: object) -> tuple[bool, str]:
        screen = Console(file=io.StringIO(), width=200)
        return run_steps(steps, WORK, screen), screen.file.getvalue()

    return run


def make_step(name: str, code: str = "", resume: tuple[str, ...] = ()) -> object:
    """Return a step that appends its arguments to calls.txt and writes its output."""
    out = WORK / name
    script = (
        f"import pathlib, sys; pathlib.Path('calls.txt').open('a').write(' '.join(['{name}', *sys.argv[1:]]) + '\\n');"
        f"out = pathlib.Path('{out}'); out.mkdir(parents=True, exist_ok=True); {code}"
    )
    return Step(name, name, (sys.executable, "-c", script), out, resume=resume)


def calls() -> list[str]:
    return Path("calls.txt").read_text().splitlines()


def test_a_finished_step_is_not_repeated(runner):
    steps = make_step("a"), make_step("b")
    assert runner(*steps)[0] and runner(*steps)[0]
    assert calls() == ["a", "b"]
    assert "finished before" in runner(*steps)[1]


def test_a_step_without_its_output_is_repeated(runner):
    steps = make_step("a"), make_step("b")
    runner(*steps)
    remove(steps[1].out)
    assert runner(*steps)[0]
    assert calls() == ["a", "b", "b"]


def test_a_changed_step_and_all_later_ones_start_again(runner):
    runner(make_step("a"), make_step("b"), make_step("c"))
    (WORK / "c" / "stale").touch()
    runner(make_step("a"), make_step("b", code="1"), make_step("c"))
    assert calls() == ["a", "b", "c", "b", "c"]
    assert not (WORK / "c" / "stale").exists() and (WORK / "c.old-1" / "stale").exists()


def test_undoing_a_change_takes_the_earlier_output_back(runner):
    """Guards: a run that was finished was trained again after a broken edit and its correction."""
    first = make_step("a", "(out / 'mine').touch()")
    runner(first, make_step("b"))
    for number in (1, 2):
        assert not runner(make_step("a", f"sys.exit({number})"), make_step("b"))[0]
    succeeded, screen = runner(first, make_step("b"))
    assert succeeded and screen.count("finished before") == 2 and "a.old-1 again" in screen
    assert (first.out / "mine").exists() and calls() == ["a", "b", "a", "a"]
    assert runner(first)[1].count("finished before") == 1


def test_a_training_that_failed_before_its_first_checkpoint_is_not_kept(runner):
    def step(code):
        return replace(make_step("a", code), run=WORK / "a")

    runner(step("sys.exit(1)"))
    runner(step("(out / 'epoch_1.pth').touch(); sys.exit(2)"))
    assert not (WORK / "a.old-1").exists()
    runner(step("0"))
    assert (WORK / "a.old-1/epoch_1.pth").exists()


def test_only_one_process_runs_the_steps_of_a_folder(runner):
    """Guards: two runs trained in the same folder and removed each other's checkpoints."""
    WORK.mkdir()
    with FolderLock(WORK), pytest.raises(FileExistsError, match="Another run is writing to work. Wait for it"):
        runner(make_step("a"))
    assert not Path("calls.txt").exists() and runner(make_step("a"))[0]


def test_a_damaged_record_is_named(runner):
    WORK.mkdir()
    (WORK / "steps.json").write_text("{")
    with pytest.raises(ValueError, match="work/steps.json must be .* Remove it"):
        runner(make_step("a"))


def test_a_checkpoint_of_another_length_is_the_last_one_of_the_run(tmp_path):
    (tmp_path / "epoch_3.pth").touch()
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_3.pth"))
    for name in ("epoch_3.pth", "epoch_9.pth"):
        assert checkpoint_of(str(tmp_path / name)) == str(tmp_path / "epoch_3.pth")
    assert best_checkpoint_of(str(tmp_path / "epoch_9.pth")) == str(tmp_path / "epoch_3.pth")
    (tmp_path / "best_mIoU_iter_2.pth").touch()
    for name in ("epoch_3.pth", "epoch_9.pth"):
        assert best_checkpoint_of(str(tmp_path / name)) == str(tmp_path / "best_mIoU_iter_2.pth")
    assert best_checkpoint_of(str(tmp_path / "a.py")) == str(tmp_path / "a.py")
    assert checkpoint_of("elsewhere/epoch_9.pth") == "elsewhere/epoch_9.pth" and checkpoint_of("-o") == "-o"


def test_the_command_on_the_screen_is_the_one_that_runs(runner):
    (WORK / "run").mkdir(parents=True)
    (WORK / "run/last_checkpoint").write_text("/elsewhere/work/run/epoch_3.pth")
    step = make_step("a")
    shown = runner(replace(step, command=(*step.command, "work/run/epoch_9.pth")))[1]
    assert "work/run/epoch_3.pth" in shown and "epoch_9" not in shown
    assert calls() == ["a work/run/epoch_3.pth"]


def test_output_that_no_step_has_made_is_kept(runner):
    """Guards: a run by hand in a step's folder, or of another project of the same name, was removed."""
    (WORK / "a").mkdir(parents=True)
    (WORK / "a" / "mine.pth").touch()
    _, screen = runner(make_step("a"))
    assert (WORK / "a.old-1" / "mine.pth").exists() and f"kept as {WORK / 'a.old-1'}" in screen


def test_a_failed_step_stops_the_sequence_shows_its_output_and_is_resumed(runner):
    fails = "print('the reason'); (out / 'checkpoint').touch(); sys.exit(0 if 'continue' in sys.argv else 3)"
    steps = make_step("a", fails, resume=("continue",)), make_step("b")
    succeeded, screen = runner(*steps)
    assert not succeeded and "the reason" in screen and "exit code 3" in screen and "a.log" in screen
    assert "Correct this, then run the same command again." in screen and "resumes" not in screen
    assert calls() == ["a"]
    succeeded, screen = runner(*steps)
    assert succeeded and re.search(r"done in \d:\d\d, \d:\d\d with earlier runs", screen)
    assert calls() == ["a", "a continue", "b"]
    assert (WORK / "a" / "checkpoint").exists()


def test_a_step_that_was_ended_from_outside_is_resumed_without_a_correction(runner):
    screen = runner(make_step("a", "import os; os.kill(os.getpid(), 15)"))[1]
    assert "The same command resumes this step." in screen and "Correct this" not in screen


def test_the_last_lines_are_those_of_the_program_and_not_of_mim():
    own = "Traceback (most recent call last):\n  File program.py\nValueError: the reason\n"
    launcher = (
        'Traceback (most recent call last):\n  File "/x/bin/mim", line 8, in <module>\nCalledProcessError: ...\n'
    )
    assert last_lines(own + launcher) == last_lines(own) == own.strip()


def test_the_last_lines_of_a_command_of_mmtl_are_its_error():
    assert last_lines("step 1\nmmtl train: no data\n") == "mmtl train: no data"
    assert last_lines("mmtl train: warning\nstep 1\nmmtl train: two:\n  a\n  b\n") == "mmtl train: two:\n  a\n  b"
    assert last_lines("mmtl train: warning\nkilled\n") == "mmtl train: warning\nkilled"


def test_the_time_of_all_attempts_counts(runner, monkeypatch):
    fails = "(out / 'x').exists() or sys.exit((out / 'x').touch() or 1)"
    step, ticks = make_step("a", fails), itertools.count(step=10)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticks), sleep=lambda _: 0))
    runner(step)
    first = Progress(WORK / "steps.json").steps["a"]["seconds"]
    runner(step)
    assert Progress(WORK / "steps.json").steps["a"]["seconds"] > first > 0


def test_a_data_folder_is_never_removed(runner, tmp_path):
    precious = tmp_path / "data" / "mine.txt"
    precious.parent.mkdir()
    precious.touch()
    step = Step("data", "data", (sys.executable, "-c", "import sys; sys.exit(1)"), Path("data"))
    assert not runner(step)[0] and not runner(step)[0]
    assert precious.exists()


def test_a_step_runs_again_when_its_config_changes(tmp_path):
    config = tmp_path / "config.py"
    step = Step("a", "a", ("mim", "train", str(config)), tmp_path)
    config.write_text("lr = 1.0")
    before = fingerprint(step, "")
    config.write_text("lr = 1.0  # a comment changes nothing")
    assert fingerprint(step, "") == before
    config.write_text("lr = 2.0")
    assert fingerprint(step, "") != before


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_training_runs_again_when_a_list_of_its_images_changes(tmp_path, part):
    """Guards: a new split left the teacher as it was, which may have seen validation images."""
    config, path = tmp_path / "config.py", tmp_path / f"{part} 1.txt"
    config.write_text(f"{part}_dataloader = dict(dataset=dict(ann_file={str(path)!r}))")
    step = Step("a", "a", ("mmtl", "train", str(config)), tmp_path)
    path.write_text("a.png 0\n")
    before = fingerprint(step, "")
    path.write_text("b.png 0\n")
    assert fingerprint(step, "") != before


def test_a_step_runs_again_when_its_list_of_images_changes(tmp_path):
    step = Step("a", "a", ("mmtl", "make_score_maps", "--list", str(tmp_path / "list.txt")), tmp_path)
    (tmp_path / "list.txt").write_text("a.png 0\n")
    before = fingerprint(step, "")
    (tmp_path / "list.txt").write_text("b.png 0\n")
    assert fingerprint(step, "") != before


def test_without_a_terminal_the_position_is_a_line_a_minute(runner, monkeypatch):
    positions = iter(["", "step 1/3", "step 1/3", "step 2/3", "step 3/3"])
    monkeypatch.setattr(module, "training_position", lambda *_: next(positions))
    monkeypatch.setattr(module.time, "monotonic", iter([0, 0, 10, 20, 50, 100]).__next__)
    screen = Console(file=io.StringIO(), width=200)
    shown = PositionShown(Step("a", "a", (), WORK, run=WORK), WORK / "a.log", screen, screen.status(""))
    for _ in range(5):
        shown.update()
    assert screen.file.getvalue() == "      0:10  step 1/3\n      1:40  step 3/3\n"


def test_the_position_is_not_that_of_an_earlier_attempt(tmp_path):
    """Guards: after a resume the screen showed the last step of the attempt before."""
    screen = Console(file=io.StringIO(), width=200, force_terminal=True)
    (tmp_path / "old/vis_data").mkdir(parents=True)
    (tmp_path / "old/vis_data/scalars.json").write_text('{"step": 24, "loss": 1.0}\n')
    (tmp_path / "maps.log").write_text("24/40 images\n")
    steps = Step("a", "a", (), tmp_path, run=tmp_path), Step("b", "b", ("mmtl", "make_score_maps"), tmp_path / "maps")
    shown = [PositionShown(step, tmp_path / "maps.log", screen, screen.status("")) for step in steps]
    for each in shown:
        each.update()
        assert str(each.status.status).endswith("  starting")
    (tmp_path / "new/vis_data").mkdir(parents=True)
    (tmp_path / "new/vis_data/scalars.json").write_text('{"step": 25, "loss": 1.0}\n')
    (tmp_path / "maps.log").open("a").write("25/40 images\n")
    for each, position in zip(shown, ("step 25, loss 1.000", "25/40 images"), strict=True):
        each.update()
        assert str(each.status.status).endswith(f"  {position}")


def test_ctrl_c_is_answered_before_the_command_has_ended(runner, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.PositionShown, "update", interrupt)
    screen = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(module.os, "killpg", lambda *args: (screen.print("kill"), killpg(*args)))
    with pytest.raises(KeyboardInterrupt):
        run_steps([make_step("a", "import time; time.sleep(60)")], WORK, screen)
    assert screen.file.getvalue().endswith("stopping ...\nkill\n")
