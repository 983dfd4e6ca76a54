import os
from pathlib import Path

import pytest

from mmtl.apis.project import run_project, train_step, write_steps


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
