"""Laws of files that appear whole."""

import pytest

from mmtl.utils.atomic_file import whole_file


def test_appears_only_at_the_end(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with whole_file(path) as part:
        part.write_text("half")
        assert part.parent == path.parent, "renaming is atomic within a folder"
        assert not path.exists()
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_its_place_stays(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"), whole_file(tmp_path / "taken") as part:
        part.write_text("x")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]
