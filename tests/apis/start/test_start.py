"""`mmtl start` writes configs that need no edit: their data, models and steps fit the folder."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.start_folders import build, write_images
from mmengine.config import Config
from PIL import Image

from mmtl.apis.project import read_steps
from mmtl.apis.start.start import Wishes, start
from mmtl.apis.start.templates import fill
from mmtl.cli.main import run_command

pytestmark = pytest.mark.usefixtures("offline")


def test_photographs_get_a_teacher_score_maps_and_a_student_at_224_pixels(tmp_path):
    lines = start(write_images("photos", (120, 100)), Path("photos-mmtl"), Wishes(val=1 / 3, device="cpu"))
    notes = [line for line in lines if "from scratch, as" in line]
    assert len(notes) == 2 and "pip install timm" in notes[0] and "lvvit_t.pth" in notes[1]
    assert lines[0] == "12 images in 2 classes (a b, c), 120 x 100 to 101 pixels"
    assert not any("frames of one video" in line for line in lines)  # they have been compared
    work, steps, then = read_steps(Path("photos-mmtl"))
    assert [step.name for step in steps] == ["teacher", "score_maps", "student"]
    for name, step in (("1_teacher", steps[0]), ("2_student", steps[2])):
        cfg, model, train, val = build(tmp_path / f"photos-mmtl/{name}.py")
        assert step.command == ("mmtl", "train", f"photos-mmtl/{name}.py") and Path(cfg.work_dir) == step.run
        assert len(train) == 8 and len(val) == 4 and train.CLASSES == val.CLASSES == ("a b", "c")
        assert {val[index]["inputs"].shape for index in range(4)} == {(3, 224, 224)}
        assert cfg.train_dataloader.batch_size == 8 and "my_images" not in Path(f"photos-mmtl/{name}.py").read_text()
    epochs = Config.fromfile("photos-mmtl/1_teacher.py").train_cfg.max_epochs
    arguments = ["photos-mmtl/1_teacher.py", f"work_dirs/photos/teacher/epoch_{epochs}.pth", "photos"]
    assert list(steps[1].command[2:5]) == arguments and cfg.score_maps == str(steps[1].out) == steps[1].command[5]
    assert f"epoch_{cfg.train_cfg.max_epochs}.pth photos --list photos-mmtl/val.txt -o " in then[0]
    assert f"epoch_{cfg.train_cfg.max_epochs}.pth NEW_IMAGES -o " in then[1] and "--list" not in then[1]
    assert cfg.auto_scale_lr.base_batch_size == 8 and cfg.val_evaluator.topk == (1,)
    assert sorted(Path("photos").rglob("*.png")) and not list(Path("photos").rglob("*.txt"))


def test_a_generated_folder_works_without_the_configs_of_mmtl(tmp_path):
    start(write_images("photos", (32, 32)), Path("out"), Wishes(device="cpu"))
    shutil.move("out", tmp_path / "elsewhere")
    assert Config.fromfile("elsewhere/2_student.py").default_hooks.check_inputs


def test_validation_images_that_are_also_training_images_are_counted(tmp_path):
    """Guards: train/ and val/ with the same files looked like a good result."""
    folder = write_images("scenes", (32, 32), np.array([[0, 1]], np.uint8))
    for name in ("images", "masks"):
        shutil.copytree(folder / name, tmp_path / f"twice/train/{name}")
        shutil.copytree(folder / name, tmp_path / f"twice/val/{name}")
    (tmp_path / "twice/val/images/0.png").write_bytes((tmp_path / "twice/val/images/4.png").read_bytes())
    Image.new("RGB", (32, 33)).save(tmp_path / "twice/val/images/1.png")
    lines = [line for line in start(Path("twice"), Path("out"), Wishes(device="cpu")) if "also training" in line]
    assert len(lines) == 1 and lines[0].startswith("WARNING: 5 of 6 validation images are also training images, such")
    assert " and val/images/" in lines[0]
    then = read_steps(Path("out"))[2]
    assert ".pth twice -o " in then[0] and "all images" in then[0]  # not only those for validation
    for part in ("train", "val"):
        for path in Path("twice", part, "masks").iterdir():
            Image.fromarray(np.array(Image.open(path)) * np.uint8(255)).save(path)
    with pytest.raises(ValueError, match="writes index masks to new/masks[.] "):
        start(Path("twice"), Path("new"), Wishes(device="cpu"))


def test_configs_have_at_most_as_many_workers_as_there_are_cpus(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    start(write_images("photos", (120, 100)), Path("a"), Wishes(device="cuda"))
    start(write_images("scenes", (64, 48), np.array([0, 1], np.uint8)), Path("b"), Wishes(device="cpu"))
    for config in ("a/1_teacher", "a/2_student", "b/1_segmentation"):
        assert Config.fromfile(f"{config}.py").train_dataloader.num_workers == 1


def test_folders_with_their_own_split_have_no_hint_and_need_no_list():
    for part in ("train", "val"):
        write_images(f"photos/{part}", (32, 32))
    lines = start(Path("photos"), Path("out"), Wishes(device="cpu"))
    _, _, then = read_steps(Path("out"))
    assert not any("frames of one video" in line for line in lines) and " photos/val -o " in then[0]
    shutil.rmtree("photos/val")
    shutil.copytree("photos/train", "photos/val")
    lines = start(Path("photos"), Path("out"), Wishes(device="cpu"))
    assert sum("validation images are also training images, such as train/" in line for line in lines) == 1


def test_filling_a_template_keeps_comments_and_refuses_unknown_names():
    text = "# head\na = 1  # ü first\nb = dict(\n    c=2,\n)\n"
    assert fill(text, dict(a="x", b=(1,))) == "# head\na = 'x'  # ü first\nb = (1,)\n"
    with pytest.raises(KeyError, match="zz: not a variable"):
        fill(text, dict(zz=1))


def test_file_names_cannot_change_the_terminal(capsys):
    photos = write_images("photos", (40, 40))
    (next(path for path in photos.iterdir() if path.is_dir()) / "red\x1b[31m\nline.png").write_bytes(b"no image")
    with pytest.raises(SystemExit, match="0"):
        run_command("start", [str(photos), "--device", "cpu", "--teacher", "cnn"], "mmtl start")
    out = capsys.readouterr().out
    assert "red\\x1b[31m\\nline.png" in out and "\x1b" not in out


def test_printed_and_written_commands_are_quoted(capsys):
    with pytest.raises(SystemExit, match="0"):
        run_command("start", [str(write_images("my photos", (32, 32))), "--device", "cpu"], "mmtl start")
    assert "\n    mmtl train 'my photos-mmtl'\n" in capsys.readouterr().out
    text = Path("my photos-mmtl/2_student.py").read_text()
    assert "# Command:   mmtl train 'my photos-mmtl/2_student.py'\n" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing is not a folder. Give"),
        (["photos", "--val", "1.5"], "--val must be a share between 0 and 1, got 1.5"),
        (["photos", "-o", "a.txt"], "--out must be a folder that can be written, got a.txt: Not a directory. Give"),
        (["photos", "-o", "a.txt/b/c"], "--out must be a folder that can be written, got a.txt/b/c: Not a directory"),
        (["photos", "-o", "/proc/x"], "--out must be a folder that can be written, got /proc/x: "),
    ],
)
def test_arguments_are_checked_before_images_are_read(arguments, message, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mmtl.apis.start.start", None)  # nor is torch imported
    Path("photos").mkdir()
    Path("a.txt").touch()
    with pytest.raises(SystemExit, match="1"):
        run_command("start", arguments, "mmtl start")
    assert f"mmtl start: {message}" in capsys.readouterr().err
