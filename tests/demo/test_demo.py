import io
import itertools
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.paths import ROOT
from mmengine.config import Config
from rich.console import Console


@pytest.fixture(scope="module")
def tool():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        sys.modules["demo"] = module = SimpleNamespace()  # dataclasses look their module up by name
        module.__dict__.update(runpy.run_path(str(ROOT / "tools" / "demo.py"), run_name="demo"))
        yield module
        del sys.modules["demo"], sys.modules["demo_report"]


@pytest.fixture
def runner(tool, tmp_path, monkeypatch):
    """Run steps in an empty folder; gives (succeeded, screen)."""
    monkeypatch.chdir(tmp_path)

    def run(*steps: object) -> tuple[bool, str]:
        screen = Console(file=io.StringIO(), width=200)
        return tool.run_steps(list(steps), screen), screen.file.getvalue()

    return run


def make_step(tool, name: str, code: str = "", resume: tuple[str, ...] = ()) -> object:
    """A step that notes its arguments in calls.txt and writes its output."""
    out = tool.WORK / name
    script = (
        f"import pathlib, sys; pathlib.Path('calls.txt').open('a').write(' '.join(['{name}', *sys.argv[1:]]) + '\\n');"
        f"out = pathlib.Path('{out}'); out.mkdir(parents=True, exist_ok=True); {code}"
    )
    return tool.Step(name, name, (sys.executable, "-c", script), out, resume=resume)


def calls() -> list[str]:
    return Path("calls.txt").read_text().splitlines()


def test_a_finished_step_is_not_repeated(tool, runner):
    steps = make_step(tool, "a"), make_step(tool, "b")
    assert runner(*steps)[0] and runner(*steps)[0]
    assert calls() == ["a", "b"]
    assert "finished before" in runner(*steps)[1]


def test_a_step_whose_output_is_gone_is_repeated(tool, runner):
    steps = make_step(tool, "a"), make_step(tool, "b")
    runner(*steps)
    tool.remove(steps[1].out)
    assert runner(*steps)[0]
    assert calls() == ["a", "b", "b"]


def test_a_changed_step_and_all_after_it_start_afresh(tool, runner):
    runner(make_step(tool, "a"), make_step(tool, "b"), make_step(tool, "c"))
    (tool.WORK / "c" / "stale").touch()
    runner(make_step(tool, "a"), make_step(tool, "b", code="1"), make_step(tool, "c"))
    assert calls() == ["a", "b", "c", "b", "c"]
    assert not (tool.WORK / "c" / "stale").exists()


def test_a_failed_step_stops_the_demo_shows_its_output_and_is_resumed(tool, runner):
    fails = "print('the reason'); (out / 'checkpoint').touch(); sys.exit(0 if 'go-on' in sys.argv else 3)"
    steps = make_step(tool, "a", fails, resume=("go-on",)), make_step(tool, "b")
    succeeded, screen = runner(*steps)
    assert not succeeded and "the reason" in screen and "exit code 3" in screen and "a.log" in screen
    assert calls() == ["a"]
    assert runner(*steps)[0]
    assert calls() == ["a", "a go-on", "b"]
    assert (tool.WORK / "a" / "checkpoint").exists()


def test_the_last_lines_are_those_of_the_program_not_of_mim(tool):
    own = "Traceback (most recent call last):\n  File program.py\nValueError: the reason\n"
    launcher = (
        'Traceback (most recent call last):\n  File "/x/bin/mim", line 8, in <module>\nCalledProcessError: ...\n'
    )
    assert tool.last_lines(own + launcher) == tool.last_lines(own) == own.strip()


def test_the_time_of_all_attempts_counts(tool, runner, monkeypatch):
    fails = "(out / 'x').exists() or sys.exit((out / 'x').touch() or 1)"
    step, ticks = make_step(tool, "a", fails), itertools.count(step=10)
    monkeypatch.setitem(
        tool.run_step.__globals__, "time", SimpleNamespace(monotonic=lambda: next(ticks), sleep=lambda _: 0)
    )
    runner(step)
    first = tool.Progress(tool.STATE).steps["a"]["seconds"]
    runner(step)
    assert tool.Progress(tool.STATE).steps["a"]["seconds"] > first > 0


def test_a_data_folder_is_never_removed(tool, runner, tmp_path):
    precious = tmp_path / "data" / "mine.txt"
    precious.parent.mkdir()
    precious.touch()
    step = tool.Step("data", "data", (sys.executable, "-c", "import sys; sys.exit(1)"), Path("data"))
    assert not runner(step)[0] and not runner(step)[0]
    assert precious.exists()


def test_a_step_runs_afresh_when_its_config_changes(tool, tmp_path):
    config = tmp_path / "config.py"
    step = tool.Step("a", "a", ("mim", "train", str(config)), tmp_path)
    config.write_text("lr = 1.0")
    before = tool.fingerprint(step, "")
    config.write_text("lr = 1.0  # a comment changes nothing")
    assert tool.fingerprint(step, "") == before
    config.write_text("lr = 2.0")
    assert tool.fingerprint(step, "") != before


def test_every_step_reads_what_the_steps_before_it_make(tool, monkeypatch):
    monkeypatch.chdir(ROOT)
    made = []
    for step in tool.make_steps():
        configs = [Config.fromfile(word) for word in step.command if word.endswith(".py")]
        for config in configs if step.run else []:
            assert Path(config.work_dir) == step.run
        wanted = [word for word in step.command if word.startswith(("data/", "work_dirs/"))]
        wanted += [
            config[name] for config in configs if step.run for name in ("pretrained", "score_maps") if config.get(name)
        ]
        for path in map(Path, wanted):
            inside = [root for root in (*made, step.out) if root == path or root in path.parents]
            assert inside or path == tool.WORK, f"{step.name} needs {path}"
        made.append(step.out)


def test_the_checkpoints_that_later_steps_read_are_those_that_training_ends_with(tool, monkeypatch):
    monkeypatch.chdir(ROOT)
    ends = {}
    for step in tool.make_steps():
        if step.run:
            config = Config.fromfile(step.command[3])
            train = config.train_cfg
            ends[step.run] = f"iter_{train.max_iters}.pth" if "max_iters" in train else f"epoch_{train.max_epochs}.pth"
            if "pretrained" in config:
                assert Path(config.pretrained).name == ends[Path(config.pretrained).parent]
        for word in step.command:
            if word.endswith(".pth"):
                assert Path(word).name == ends[Path(word).parent]
