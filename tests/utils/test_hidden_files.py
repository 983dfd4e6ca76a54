"""Files and folders whose name starts with a dot are neither images nor classes."""

from pathlib import Path

import pytest

from mmtl.apis.segment import images_below
from mmtl.utils.image_files import class_folders, is_hidden, list_images


@pytest.fixture
def root(tmp_path):
    for name in (
        "cat/0.jpg",
        "cat/._0.jpg",
        "cat/.ipynb_checkpoints/0.jpg",
        ".ipynb_checkpoints/1.jpg",
        ".trash/a.txt",
    ):
        (tmp_path / ".data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".data" / name).write_bytes(b"")
    return tmp_path / ".data"  # a hidden root itself may be meant


def test_score_maps_and_predictions_leave_hidden_files_out(root):
    assert list_images(root) == ["cat/0.jpg"] and class_folders(list_images(root)) == ["cat"]


def test_segmentation_leaves_hidden_files_out(root, tmp_path):
    assert images_below(root, tmp_path / "out") == [root / "cat/0.jpg"]


def test_parts_of_a_relative_path_decide():
    assert is_hidden("a/.b/c") and is_hidden(".a") and is_hidden(Path("..", ".a"))
    assert not is_hidden("../a/b.c") and not is_hidden("a.b")
