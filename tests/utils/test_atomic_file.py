"""Laws of atomic file writing."""

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor

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


def test_a_device_is_written_into_and_not_replaced(tmp_path):
    """Guards: as root, ``-o /dev/null`` replaced the device by a regular file."""
    try:
        os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device needs root")
    with atomic_file(tmp_path / "null") as part:
        part.write_bytes(b"content")
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode) and len(list(tmp_path.iterdir())) == 1


def test_a_link_to_itself_is_refused_and_stays(tmp_path):
    """Guards: it was replaced by a regular file."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="leads to itself"), atomic_file(tmp_path / "a") as part:
        part.touch()
    assert (tmp_path / "a").is_symlink() and (tmp_path / "b").is_symlink() and len(list(tmp_path.iterdir())) == 2


def test_a_pipe_receives_the_content(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as thread:
        received = thread.submit((tmp_path / "pipe").read_bytes)
        with atomic_file(tmp_path / "pipe") as part:
            part.write_bytes(b"content")
        assert received.result(10) == b"content" and (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("exists", [False, True])
def test_a_link_is_followed(tmp_path, exists):
    target = tmp_path / "elsewhere" / "file"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    (tmp_path / "link").symlink_to("elsewhere/file")
    with atomic_file(tmp_path / "link") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "link").is_symlink() and target.read_bytes() == b"new"
    assert len(list(tmp_path.rglob("*"))) == 3


@pytest.mark.parametrize("name", ["a" * 255, "é" * 125 + ".csv"])
def test_a_file_may_have_the_longest_name(tmp_path, name):
    """Guards: the temporary name was longer than file systems allow."""
    for text in ("old", "new"):
        with atomic_file(tmp_path / name) as temporary:
            temporary.write_text(text)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(name, "new")]
