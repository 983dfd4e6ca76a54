import os

import pytest
from helpers.score_map_makers import write_images

from mmtl.utils.image_files import check_key, empty_folders, files_under, list_images, read_list


def test_loops_of_links_and_special_files_are_left_out(tmp_path):
    """Guards: a loop of links listed images 40 times over, and reading a pipe never ended."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "1.png").touch()
    (tmp_path / "a" / "b" / "up").symlink_to("../..")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "nowhere.png").symlink_to("absent")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "linked").symlink_to("a")
    assert sorted(files_under(tmp_path)) == ["a/1.png", "linked/1.png"]
    assert list_images(tmp_path) == ["a/1.png", "linked/1.png"]


def test_an_excluded_folder_is_not_an_image_folder(tmp_path):
    for folder in ("a", "out"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").touch()
    assert list_images(tmp_path, excluded=tmp_path / "out") == ["a/1.png"]
    (tmp_path / "out" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match="out contains no image"):
        list_images(tmp_path)
    assert list_images(tmp_path, excluded=tmp_path / "out" / "deeper") == ["a/1.png"]


def test_a_file_in_place_of_the_folder_is_named_with_its_folder(tmp_path):
    (tmp_path / "1.png").touch()
    for read in (list_images, lambda root: read_list(tmp_path / "list.txt", root)):
        with pytest.raises(FileNotFoundError, match=f"1.png must be a folder of images, got a file.*{tmp_path}"):
            read(tmp_path / "1.png")


def test_empty_folders_are_named_and_accepted_on_demand(tmp_path):
    for folder in ("a", "b", "out", ".hidden"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "1.png").touch()
    keys = list_images(tmp_path, allow_empty=True)
    assert keys == ["a/1.png"] and empty_folders(tmp_path, keys) == ["b", "out"]
    assert empty_folders(tmp_path, keys, excluded=tmp_path / "out") == ["b"]


@pytest.mark.parametrize("name", ["é.png", "日.png"])
def test_names_that_the_locale_decodes_otherwise_are_refused(tmp_path, monkeypatch, name):
    """Guards: under a Latin-1 locale, names that are not UTF-8 were keys, and others were different keys."""
    check_key(name)
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("latin-1", "surrogateescape"))
    with pytest.raises(ValueError, match="must be valid UTF-8"):
        check_key(name)


def test_image_folders_without_images_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such image folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="contains no image"):
        list_images(tmp_path)
    write_images(tmp_path, 1)
    (tmp_path / "dog").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Class folder .*dog contains no image"):
        list_images(tmp_path)


def test_image_names_that_are_not_utf8_are_named(tmp_path):
    write_images(tmp_path, 1)
    with open(os.fsencode(tmp_path) + b"/ant/caf\xe9.png", "wb") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"'ant/caf\\udce9.png': the file name must be valid UTF-8"):
        list_images(tmp_path)


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    write_images(tmp_path, 1)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match=r"The folder .*bee cannot be read: Permission denied"):
        list_images(tmp_path)
