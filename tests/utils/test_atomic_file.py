"""Laws of atomic file writing."""

import errno

import pytest

from mmtl.utils.atomic_file import atomic_file

durable_or_not = pytest.mark.parametrize("durable", [False, True])


@durable_or_not
def test_the_file_appears_only_at_the_end(tmp_path, durable):
    path = tmp_path / "new" / "file.txt"
    with atomic_file(path, durable=durable) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent, "renaming is atomic within a folder"
        assert not path.exists()
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


@durable_or_not
def test_an_error_leaves_the_old_file(tmp_path, durable):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path, durable=durable) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_of_the_same_name_stays(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"), atomic_file(tmp_path / "taken") as temporary:
        temporary.write_text("x")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_the_remains_of_a_killed_run_are_overwritten(tmp_path):
    with atomic_file(tmp_path / "file.txt") as temporary:
        left = temporary
        temporary.write_text("new")
    left.write_text("a longer text of a killed run")
    with atomic_file(tmp_path / "file.txt") as temporary:
        temporary.write_text("new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("file.txt", "new")]


def test_durable_syncs_the_file_before_and_the_folder_after_the_rename(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("mmtl.utils.atomic_file._sync", lambda path: calls.append((path, (tmp_path / "f").exists())))
    with atomic_file(tmp_path / "f", durable=True) as temporary:
        temporary.write_text("x")
    assert calls == [(temporary, False), (tmp_path, True)]


def test_a_full_disk_is_reported_with_the_file_and_the_remedy(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device \(free disk space.*file.txt.part"):
        with atomic_file(tmp_path / "file.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())
