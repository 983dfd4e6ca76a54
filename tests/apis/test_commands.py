"""Tools as commands: options reach the function, results are printed, errors end with one line and exit code 1."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT


def run(tool, *arguments):
    command = [sys.executable, ROOT / "tools" / f"{tool}.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A segmentation config with its data, one image that cannot be decoded, and an image of its size."""
    root = tmp_path_factory.mktemp("commands")
    tiny.write_data(root)
    tiny.write_config(root)
    (root / "photos").mkdir()
    cv2.imwrite(str(root / "photos/good.png"), np.zeros((8, 8, 3), np.uint8))
    (root / "photos/broken.png").write_bytes(b"not an image")
    return root


def test_segment_writes_what_it_can_and_lists_what_it_cannot(root):
    options = ["--device", "cpu", "--opacity", "1", "--cfg-options", "model.test_cfg.mode=whole"]
    result = run("segment", root / "tiny.py", "random", root / "photos", "-o", root / "out", *options)
    assert result.returncode == 1 and f"{root / 'out'}: 1 image segmented" in result.stdout
    lines = result.stderr.splitlines()[-2:]
    assert lines[0] == "segment: 1 of 2 images were left out:"
    assert lines[1] == f"  {root / 'photos/broken.png'}: cannot be decoded as an image"
    assert (root / "out/masks/good.png").is_file()


def test_check_exits_with_1_only_when_there_are_problems(root):
    good = run("check_segmentation_data", root / "tiny.py", "--jobs", "1")
    assert good.returncode == 0 and good.stdout.splitlines()[-1] == "7 pairs, problems: none"
    changed = "model.decode_head.num_classes=4"
    bad = run("check_segmentation_data", root / "tiny.py", "--jobs", "1", "--cfg-options", changed)
    assert bad.returncode == 1 and "decode_head.num_classes is 4" in bad.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("browse_samples", ["absent.py"], "absent.py: no such file"),
        ("check_segmentation_data", ["absent.py", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        ("export_onnx", ["absent.py", "a.onnx", "--image-size", "64"], "absent.py: no such file"),
        ("predict", ["absent.py", "a.pth", ".", "-o", "a.csv", "--topk", "0"], "--topk must be at least 1, got 0"),
    ],
)
def test_user_error_is_one_line_on_stderr_with_exit_code_1(tool, arguments, message):
    result = run(tool, *arguments)
    assert result.returncode == 1
    # Libraries may warn while they are imported.
    assert result.stderr.splitlines()[-1].startswith(f"{tool}: {message}"), result.stderr
    assert "Traceback" not in result.stderr
