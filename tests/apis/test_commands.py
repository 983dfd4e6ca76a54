"""Tools as commands: options reach the function, results are printed, errors end with one line and exit code 1."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT

from mmtl.cli.main import run_command


def run(tool, *arguments):
    """Return the exit code of a tool that runs in this process."""
    with pytest.raises(SystemExit) as end:
        run_command(tool, [*map(str, arguments)], program=tool)
    return end.value.code or 0


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
    words = [ROOT / "tools/segment.py", root / "tiny.py", "random", root / "photos", "-o", root / "out", *options]
    command, environment = [sys.executable, *map(str, words)], {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 1 and f"{root / 'out'}: 1 image segmented" in result.stdout
    lines = result.stderr.splitlines()[-2:]
    assert lines[0] == "segment: 1 of 2 images were left out:"
    assert lines[1] == f"  {root / 'photos/broken.png'}: cannot be decoded as an image"
    assert (root / "out/masks/good.png").is_file()


def test_check_exits_with_1_only_when_there_are_problems(root, capsys):
    assert run("check_segmentation_data", root / "tiny.py", "--jobs", "1") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "7 pairs, problems: none"
    changed = "model.decode_head.num_classes=4"
    assert run("check_segmentation_data", root / "tiny.py", "--jobs", "1", "--cfg-options", changed) == 1
    assert "decode_head.num_classes is 4" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("browse_samples", ["absent.py"], "absent.py: no such file"),
        ("check_segmentation_data", ["absent.py", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        ("export_onnx", ["absent.py", "a.onnx", "--image-size", "64"], "absent.py: no such file"),
        ("predict", ["absent.py", "a.pth", ".", "-o", "a.csv", "--topk", "0"], "--topk must be at least 1, got 0"),
    ],
)
def test_user_error_is_one_line_on_stderr_with_exit_code_1(capsys, tool, arguments, message):
    assert run(tool, *arguments) == 1
    error = capsys.readouterr().err
    # Libraries may warn while they are imported.
    assert error.splitlines()[-1].startswith(f"{tool}: {message}"), error
    assert "Traceback" not in error
