"""`mim train mmtl` and `mim test mmtl` run the script of the package that a config is for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader, Dataset

from mmtl.apis.hand_over import hand_over, unreadable_image, upstream_script
from mmtl.apis.project import train_step
from mmtl.apis.run_steps import Progress
from mmtl.apis.start.written import MARKER
from mmtl.score_maps.folder_lock import FolderLock
from mmtl.utils.cli import message_of
from mmtl.utils.config_file import read_config

PRETRAIN = ROOT / "configs/demo/resnet-nano_1xb32-9e_demo.py"
SEGMENT = ROOT / "configs/demo/lvvit-nano_upernet_1xb16-tokenlabel-300i_demo-64x80.py"


@pytest.mark.parametrize("tool", ["train", "test"])
def test_the_scope_of_a_config_selects_the_package(tmp_path, tool):
    for config, package in ((PRETRAIN, "mmpretrain"), (SEGMENT, "mmseg")):
        script = upstream_script(read_config(config), tool)
        assert script.is_file() and script.parts[-4:] == (package, ".mim", "tools", f"{tool}.py")
    (tmp_path / "other.py").write_text("default_scope = 'mmdet'")
    with pytest.raises(ValueError, match="other.py: default_scope must be one of mmpretrain, mmseg, got 'mmdet'"):
        upstream_script(read_config(tmp_path / "other.py"), tool)


def test_a_config_without_a_model_is_refused_by_file(tmp_path):
    """Guards: KeyError: 'model'."""
    for text in ("", "model = None\n"):
        (tmp_path / "bare.py").write_text(f"default_scope = 'mmpretrain'\n{text}")
        with pytest.raises(ValueError, match="bare.py: model must be the config of a model, got None"):
            hand_over("train", [str(tmp_path / "bare.py")])
    assert upstream_script(read_config(tmp_path / "bare.py"), "train", ["--cfg-options", "model.type=A"]).is_file()


def run(tool, *arguments):
    command = [sys.executable, ROOT / "tools" / f"{tool}.py", *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def test_a_config_trains_and_is_tested_with_the_options_of_the_upstream_scripts(tmp_path):
    tiny.write_data(tmp_path)
    config, work_dir = tiny.write_config(tmp_path), tmp_path / "run"
    done = run("train", config, "--launcher", "none", "--work-dir", work_dir, "--cfg-options", "train_cfg.max_iters=1")
    assert done.returncode == 0, done.stderr[-2000:]
    (checkpoint,) = work_dir.glob("*.pth")
    done = run("test", config, checkpoint, "--launcher", "none", "--work-dir", work_dir)
    assert done.returncode == 0 and "mIoU" in done.stdout + done.stderr


@pytest.mark.parametrize("tool", ["train", "test"])
def test_help_and_a_missing_config_are_answered_by_the_tool(tool):
    text = run(tool, "-h").stdout
    assert f"mim {tool} mmtl CONFIG" in text
    assert "--gpus" not in text  # which would make mim add options that the upstream scripts refuse
    done = run(tool, "--amp")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(f"{tool}: Give a config")


@pytest.fixture
def called(monkeypatch):
    """Record the command line of the upstream script instead of running it."""
    lines = []
    monkeypatch.setattr(sys, "argv", ["mmtl"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr("runpy.run_path", lambda script, run_name: lines.append(sys.argv[1:]))
    monkeypatch.setattr("mmtl.annotators.launch.start_processes", lambda count: lines.append(count) or 7)
    return lines


def test_the_config_goes_first_by_file_or_name_and_all_options_are_passed_on(called):
    options = ["--cfg-options", "a=b.py", "c=1", "--resume", "--amp"]
    assert hand_over("train", [*options, str(PRETRAIN)]) == 0
    assert hand_over("test", [PRETRAIN.stem, "--checkpoint", "a.pth", "--tta"]) == 0
    assert called == [[str(PRETRAIN), *options], [str(PRETRAIN), "a.pth", "--tta"]]


def test_the_worst_images_of_a_test_are_found_by_a_hook_and_train_has_no_such_option(called):
    hand_over("test", [str(PRETRAIN), "a.pth", "--worst", "20", "--cfg-options", "a=1"])
    hooks = [f"default_hooks.worst_images.{value}" for value in ("type=mmtl.WorstImagesHook", "count=20")]
    assert called[-1] == [str(PRETRAIN), "a.pth", "--cfg-options", "a=1", "--cfg-options", *hooks]
    hand_over("train", [str(PRETRAIN), "--worst", "20"])
    assert called[-1] == [str(PRETRAIN), "--worst", "20"]


def test_processes_are_started_with_the_pytorch_launcher_only(called, monkeypatch):
    launch = [str(PRETRAIN), "--launcher", "pytorch"]
    assert hand_over("train", [*launch, "--processes", "2"]) == 7 and hand_over("train", launch) == 7
    with pytest.raises(ValueError, match="--gpus 2 needs --launcher pytorch"):
        hand_over("train", [str(PRETRAIN), "--gpus", "2"])
    monkeypatch.setenv("RANK", "0")  # started by torchrun
    assert hand_over("train", launch) == 0
    assert called == [2, None, launch]


def test_without_gpus_none_is_visible(called):
    hand_over("train", [str(PRETRAIN), "--gpus", "0"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_the_traceback_of_a_run_is_in_its_log_file_or_on_the_screen(monkeypatch, called, tmp_path, capsys):
    def fail(*_, **__):
        MMLogger.get_instance("hand over", log_file=str(tmp_path / "run.log"))
        raise TypeError("of a user's transform")

    monkeypatch.setattr("runpy.run_path", fail)
    with pytest.raises(TypeError):
        hand_over("train", [str(PRETRAIN)])
    assert "Traceback" in (tmp_path / "run.log").read_text() and "Traceback" not in capsys.readouterr().err
    assert hand_over("train", [str(PRETRAIN)], keep_traceback=True) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_config_does_not_train_into_the_results_of_a_step_of_another_one(called, tmp_path, monkeypatch):
    """Guards: the finished step then showed the other config's result and checkpoint as its own."""
    monkeypatch.chdir(tmp_path)
    text = f"_base_ = {str(PRETRAIN)!r}\nwork_dir = 'work/student'\n"
    for name in ("mine.py", "copy.py"):
        Path(name).write_text(text)
    step = train_step("student", "Train", Path("mine.py"), Path("work/student"))
    Progress(Path("work/steps.json")).write(step, "digest", 1.0, finished=True)
    with pytest.raises(ValueError, match="copy.py: work_dir must not be work/student, which has the results of mine"):
        hand_over("train", ["copy.py"])
    with pytest.raises(ValueError, match="mine.py: work_dir must not be work/student, which has the results of mine"):
        hand_over("train", ["mine.py", "--cfg-options", "randomness.seed=7"])
    hand_over("train", ["mine.py", "--resume"])
    hand_over("test", ["copy.py", "a.pth"])
    hand_over("train", ["copy.py", "--work-dir", "other"])
    hand_over("train", ["copy.py", "--cfg-options", "work_dir=other"])
    Path("mine.py").unlink()  # renamed
    hand_over("train", ["copy.py"])
    assert len(called) == 5


def test_a_step_and_its_config_do_not_train_at_the_same_time(called, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(f"_base_ = {str(PRETRAIN)!r}\nwork_dir = 'work/student'\n")
    step = train_step("student", "Train", Path("mine.py"), Path("work/student"))
    Progress(Path("work/steps.json")).write(step, "digest", 1.0, finished=False)
    with FolderLock(Path("work")), pytest.raises(FileExistsError, match="Another run is writing to work"):
        hand_over("train", ["mine.py"])
    assert hand_over("train", ["mine.py"]) == 0
    FolderLock(Path("work")).release()


class Unreadable(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise ValueError("photos/a b/1.jpg: cannot read the image: it is empty. Restore it, or else.")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_one_line_that_names_its_list(tmp_path, workers):
    (tmp_path / "val.txt").write_text("b/1.jpg 0\na b/1.jpg 1\n")
    (tmp_path / "config.py").write_text(f"val_dataloader = dict(dataset=dict(ann_file={str(tmp_path / 'val.txt')!r}))")
    with pytest.raises(ValueError) as raised:
        next(iter(DataLoader(Unreadable(), num_workers=workers)))
    message = message_of(raised.value)
    assert message == "photos/a b/1.jpg: cannot read the image: it is empty. Restore it, or else."
    absent = str(FileNotFoundError(2, "No such file or directory", "photos/a b/1.jpg"))
    cfg = read_config(tmp_path / "config.py")
    for text in (message, "failed to load image: photos/a b/1.jpg", absent):
        text = unreadable_image(text, cfg)
        assert text.startswith("photos/a b/1.jpg: cannot read the image: it ")
        assert f"line 2 of {tmp_path}/val.txt." in text
    (tmp_path / MARKER).touch()
    assert "or run `mmtl start` again." in unreadable_image(message, cfg)
    assert unreadable_image(message.replace("1.jpg", "2.jpg"), cfg) is None
    assert unreadable_image("another error", cfg) is None


def test_images_in_a_folder_that_does_not_exist_are_one_line_that_names_the_folder(tmp_path):
    """Guards: the advice was to delete the first line of the list."""
    (tmp_path / "val.txt").write_text("b/1.jpg 0\n")
    dataset = dict(data_prefix=str(tmp_path / "photos"), ann_file=str(tmp_path / "val.txt"))
    (tmp_path / "config.py").write_text(f"val_dataloader = dict(dataset={dataset})")
    absent = str(FileNotFoundError(2, "No such file or directory", str(tmp_path / "photos/b/1.jpg")))
    text = unreadable_image(absent, read_config(tmp_path / "config.py"))
    assert text.startswith(f"{tmp_path}/photos does not exist, the folder")
