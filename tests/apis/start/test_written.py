"""`mmtl start` replaces only what it has written."""

from pathlib import Path

import numpy as np
import pytest
from helpers.start_folders import write_images
from mmengine.config import Config

from mmtl.apis.start.start import Wishes, start
from mmtl.apis.start.written import writing

pytestmark = pytest.mark.usefixtures("offline")


def test_other_content_is_not_overwritten():
    Path("out").mkdir()
    Path("out/mine.py").touch()
    with pytest.raises(FileExistsError, match="out has other content"):
        start(write_images("photos", (32, 32)), Path("out"), Wishes(device="cpu"))


def test_edited_configs_are_replaced_only_on_request():
    photos, out, wishes = write_images("photos", (32, 32)), Path("out"), Wishes(device="cpu")
    start(photos, out, wishes)
    start(photos, out, Wishes(device="cpu", val=0.5))  # nothing has been edited
    for name in ("2_student.py", "val.txt", "_base_/pretrain_runtime.py"):
        text = (out / name).read_text()
        (out / name).write_text(f"{text}# mine\n")
        for options in ({}, {}, dict(force=True, teacher=["resnet"])):
            with pytest.raises((FileExistsError, ValueError), match="got resnet" if options else f"{name} has been"):
                start(photos, out, Wishes(device="cpu", **options))
        assert "# mine" in (out / name).read_text()
        start(photos, out, Wishes(device="cpu", force=True))
        assert "# mine" not in (out / name).read_text()
    (out / "3_mine.py").touch()
    start(photos, out, wishes)


def test_a_start_that_is_refused_leaves_no_folder():
    with pytest.raises(ValueError, match="got resnet"):
        start(write_images("photos", (32, 32)), Path("out"), Wishes(device="cpu", teacher=["resnet"]))
    assert not Path("out").exists()


def test_unedited_files_of_a_start_of_another_kind_are_removed():
    out = Path("out")
    scenes = write_images("scenes", (64, 48), np.array([0, 1], np.uint8))
    for mine in (False, True):
        start(write_images("photos", (32, 32)), out, Wishes(device="cpu"))
        assert (out / "1_teacher.py").exists() and not (out / "1_segmentation.py").exists()
        if mine:
            (out / "3_mine.py").write_text('_base_ = ["2_student.py"]\n')
        start(scenes, out, Wishes(device="cpu"))
        assert not (out / "1_teacher.py").exists() and (out / "2_student.py").exists() == mine
        Config.fromfile(out / ("3_mine.py" if mine else "1_segmentation.py"))


def test_weights_of_an_earlier_start_are_removed_but_not_those_of_the_user():
    out = Path("out")
    with writing(out, force=False):
        out.mkdir()
        for name in (".mmtl-start", "1_teacher.py", "old.pth", "used.pth"):
            (out / name).touch()
    (out / "mine.pth").touch()
    for _ in range(2):
        with writing(out, force=False):
            (out / "1_segmentation.py").write_text("weights = 'out/used.pth'")
    assert sorted(path.name for path in out.glob("[!.]*")) == ["1_segmentation.py", "mine.pth", "used.pth"]
