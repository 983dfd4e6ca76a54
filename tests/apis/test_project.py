import os
import sys
from pathlib import Path

import pytest

from mmtl.apis.project import NOTE, images_of, read_steps, run_project, train_step, write_steps
from mmtl.apis.run_steps import Step
from mmtl.cli.main import run_command


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The current folder, which paths of steps start at."""
    monkeypatch.chdir(tmp_path)


def test_a_folder_that_is_trained_from_elsewhere_says_where_to_run_it(tmp_path, monkeypatch):
    """Guards: the message named a missing file only, whose path started at another folder."""
    (tmp_path / "here/a/photos-mmtl").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    config = Path("a/photos-mmtl/1_teacher.py")
    config.touch()
    write_steps(config.parent, Path("work"), [train_step("teacher", "First", config, Path("work/teacher"))], [])
    for elsewhere in (tmp_path, tmp_path / "here/a", config.parent.resolve()):
        monkeypatch.chdir(elsewhere)
        folder = Path(os.path.relpath(tmp_path / "here/a/photos-mmtl"))
        with pytest.raises(FileNotFoundError, match=f"cd {tmp_path}/here && mmtl train a/photos-mmtl"):
            run_project(folder)
        assert not Path("work").exists()


def test_a_folder_without_steps_trains_its_configs_in_the_order_of_their_names():
    Path("mine").mkdir()
    for name in ("2_b", "1_a"):
        Path("mine", f"{name}.py").write_text("work_dir = 'runs/first'" if name == "1_a" else "lr = 1")
    _, steps, then = read_steps(Path("mine"))
    assert [step.command for step in steps] == [("mmtl", "train", f"mine/{name}.py") for name in ("1_a", "2_b")]
    assert [step.run for step in steps] == [Path("runs/first"), Path("work_dirs/2_b")] and not then
    with pytest.raises(FileNotFoundError, match="steps.json does not exist"):
        read_steps(Path("."))
    Path("photos/cat").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="photos/steps.json does not exist. Give a config"):
        read_steps(Path("photos"))
    Path("photos-mmtl").mkdir()
    with pytest.raises(FileNotFoundError, match="photos/steps.json does not exist. Did you mean photos-mmtl?"):
        read_steps(Path("photos"))


def test_a_folder_runs_its_steps_once_and_shows_what_follows(capsys):
    code = "from pathlib import Path; Path('work/a').mkdir(); print('run')"
    step, then = Step("a", "First", (sys.executable, "-c", code), Path("work/a")), [f"mmtl predict x/1.pth{NOTE}top-1"]
    Path("x").mkdir()
    Path("x/best_1.pth").touch()
    Path("out").mkdir()
    write_steps(Path("out"), Path("work"), [step], then)
    assert read_steps(Path("out")) == (Path("work"), [step], then)
    assert run_project(Path("out")) == run_project(Path("out")) == 0
    shown = capsys.readouterr().out
    assert "finished before" in shown and "Time and result of each step:\n    0:00  First\n" in shown
    assert f"  mmtl predict x/best_1.pth{NOTE}top-1\n" in shown
    Path("out/steps.json").write_text("{}")
    with pytest.raises(ValueError, match="steps.json cannot be read as steps"):
        run_project(Path("out"))


@pytest.mark.parametrize("until", ["maps", "1"])
def test_a_folder_runs_until_a_step_and_names_how_to_go_on(until, capsys):
    code = "from pathlib import Path; Path('work/a').mkdir(exist_ok=True)"
    steps = [Step("maps", "First", (sys.executable, "-c", code), Path("work/a"))]
    steps += [Step("b", "Second", ("mmtl", "train", "out/2.py"), Path("work/b"), run=Path("work/b"))]
    Path("out").mkdir()
    Path("out/2.py").touch()
    write_steps(Path("out"), Path("work"), steps, ["mmtl predict"])
    with pytest.raises(SystemExit, match="0"):
        run_command("train", ["--until", until, "out"], "mmtl train")
    shown = capsys.readouterr().out
    assert "First" in shown and "Second" not in shown and not Path("work/b").exists()
    assert shown.endswith("Next:\n  mmtl browse_samples out/2.py\n  mmtl train out\n")
    with pytest.raises(ValueError, match="--until must be one of maps, b, or a number from 1 to 2, got 3"):
        run_project(Path("out"), until="3")


def test_what_follows_names_the_images_of_the_last_run(tmp_path):
    first, last = (Step(name, name, (), tmp_path / name, run=tmp_path / name) for name in "ab")
    assert images_of([]) == images_of([first, last]) == []
    for time, name in enumerate(("a/3/vis_data/vis_image/token_labels_9.png", "b/1/vis_data/vis_image/image_5.png")):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (time, time))
    assert images_of([first, last]) == [tmp_path / "b/1/vis_data/vis_image"]
    (tmp_path / "b/1/vis_data/vis_image/token_labels_10.png").touch()
    (tmp_path / "b/1/vis_data/vis_image/confusion_matrix_300.png").touch()
    score_maps = Step("maps", "maps", (), tmp_path / "maps")
    assert images_of([first, last, score_maps]) == [tmp_path / "b/1/vis_data/vis_image/token_labels_10.png"]
