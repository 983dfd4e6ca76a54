"""`mim train mmtl` and `mim test mmtl` run the script of the package that a config is for."""

import subprocess
import sys

import pytest
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT

from mmtl.apis.hand_over import upstream_script

PRETRAIN = ROOT / "configs/demo/resnet-nano_1xb32-9e_demo.py"
SEGMENT = ROOT / "configs/demo/lvvit-nano_upernet_1xb16-tokenlabel-300i_demo-64x80.py"


@pytest.mark.parametrize("tool", ["train", "test"])
def test_the_scope_of_a_config_selects_the_package(tmp_path, tool):
    for config, package in ((PRETRAIN, "mmpretrain"), (SEGMENT, "mmseg")):
        script = upstream_script(config, tool)
        assert script.is_file() and script.parts[-4:] == (package, ".mim", "tools", f"{tool}.py")
    (tmp_path / "other.py").write_text("default_scope = 'mmdet'")
    with pytest.raises(ValueError, match="other.py: default_scope must be one of mmpretrain, mmseg, got 'mmdet'"):
        upstream_script(tmp_path / "other.py", tool)


def run(tool, *arguments):
    command = [sys.executable, ROOT / "tools" / f"{tool}.py", *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def test_a_config_trains_and_is_tested_with_the_options_of_the_upstream_scripts(tmp_path):
    tiny.write_data(tmp_path)
    config, work_dir = tiny.write_config(tmp_path), tmp_path / "run"
    done = run("train", config, "--launcher", "none", "--work-dir", work_dir, "--cfg-options", "train_cfg.max_iters=1")
    assert done.returncode == 0, done.stderr[-2000:]
    (checkpoint,) = work_dir.glob("*.pth")
    done = run("test", config, checkpoint, "--launcher", "none", "--work-dir", work_dir)
    assert done.returncode == 0 and "mIoU" in done.stdout + done.stderr


@pytest.mark.parametrize("tool", ["train", "test"])
def test_help_and_a_missing_config_are_answered_by_the_tool(tool):
    text = run(tool, "-h").stdout
    assert f"mim {tool} mmtl CONFIG" in text
    assert "--gpus" not in text  # which would make mim add options that the upstream scripts refuse
    done = run(tool, "--amp")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(f"{tool}: Give a config")
