"""A full device, and a config that describes nothing that can be built, end every tool with one line."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import tiny_segmentation
from helpers.paths import ROOT
from test_score_maps_tools import CONFIG

from mmtl.apis import hand_over
from mmtl.apis.export_onnx import build_model, load_config

MESSAGE = "CUDA out of memory. Tried to allocate 20.00 MiB."
SCRIPT = f"import torch\nraise torch.OutOfMemoryError({MESSAGE!r})"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Configs with random weights, images, and a store made from them."""
    root = tmp_path_factory.mktemp("full")
    tiny_segmentation.write_data(root)
    tiny_segmentation.write_config(root)
    (root / "two.py").write_text(CONFIG.format(classes=2))
    for name in ("ant", "bee"):
        (root / "classes" / name).mkdir(parents=True)
        cv2.imwrite(str(root / "classes" / name / "0.png"), np.zeros((24, 16, 3), np.uint8))
    assert run("make_score_maps", root / "two.py", "random", root / "classes", root / "store", *ONE_PROCESS) == 0
    torch.save(build_model(load_config(root / "two.py"), None).state_dict(), root / "two.pth")
    return root


def run(tool, *arguments):
    """Run a tool in this process and return its exit code."""
    before = sys.argv
    sys.argv = [f"{tool}.py", *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / "tools" / f"{tool}.py"), run_name="__main__")
    except SystemExit as stop:
        return stop.code
    finally:
        sys.argv = before


ONE_PROCESS = ["--topk", "2", "--workers", "0"]
CPU = ["--device", "cpu"]
COMMANDS = {
    "make_score_maps": ["two.py", "random", "classes", "new", *ONE_PROCESS, *CPU],
    "score_maps": ["verify", "store", "--against", "two.py", "random", "--images", "classes", *CPU],
    "predict": ["two.py", "two.pth", "classes", "-o", "table.csv", "--topk", "2", "--workers", "0", *CPU],
    "segment": ["tiny.py", "random", "images/val", "-o", "segmented", *CPU],
    "export_onnx": ["two.py", "model.onnx", "--image-size", "16"],
    "train": ["two.py"],
    "test": ["two.py"],
}


@pytest.mark.parametrize("tool", COMMANDS)
def test_a_full_device_is_one_line_with_the_remedy(root, tool, monkeypatch, capfd):
    def forward(*_):
        raise torch.OutOfMemoryError(f"{MESSAGE}\n\nmore")

    (root / f"{tool}.py").write_text(SCRIPT)
    before = {path.relative_to(root) for path in root.rglob("*")}
    monkeypatch.chdir(root)
    monkeypatch.setattr(torch.nn.Conv2d, "forward", forward)
    monkeypatch.setattr(hand_over, "upstream_script", lambda *_: root / f"{tool}.py")
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert run(tool, *COMMANDS[tool]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1].startswith(f"{tool}: {MESSAGE} Free its memory") and "Traceback" not in "".join(lines)
    assert {path.relative_to(root) for path in root.rglob("*")} - before <= {Path("new"), Path("segmented")}


def test_an_image_too_large_for_the_device_does_not_cost_the_others(root, monkeypatch, capfd):
    forward, calls = torch.nn.Conv2d.forward, []

    def full_at_first(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise torch.OutOfMemoryError(MESSAGE)
        return forward(*arguments)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", full_at_first)
    assert run("segment", root / "tiny.py", "random", root / "images/val", "-o", root / "out", *CPU) == 1
    out, error = capfd.readouterr()
    assert "2 images segmented" in out and MESSAGE in error.splitlines()[-1]


@pytest.mark.parametrize("names", [["ant"], ["ant"] * 50, ["=1+1\n", "\udc80\x1b[2J"]])
def test_any_class_names_of_a_checkpoint_are_data_for_predict(root, names, monkeypatch):
    """Guards: fewer names than classes ended with an IndexError."""
    monkeypatch.chdir(root)
    meta = dict(dataset_meta=dict(classes=names))
    torch.save(dict(state_dict=torch.load("two.pth"), meta=meta), "named.pth")
    assert not run(
        "predict", "two.py", "named.pth", *COMMANDS["predict"][2:3], "-o", "named.csv", *COMMANDS["predict"][5:]
    )
    assert len(Path("named.csv").read_text().splitlines()) == 3
    assert Path("named.csv").read_text().replace("\n", "").isprintable()


OTHERS = {"browse_samples": ["two.py", "-o", "b.png"], "check_segmentation_data": ["tiny.py", "--jobs", "1"]}


@pytest.mark.parametrize("change", ["{}['type'] = 'NoNet'", "{}['depths'] = 18", "{} = 3"])
@pytest.mark.parametrize("tool", ["make_score_maps", "predict", "segment", "export_onnx", *OTHERS])
def test_a_config_that_cannot_be_built_is_one_line_that_names_it(root, tool, change, monkeypatch, capfd):
    """Guards: KeyError, TypeError and AttributeError of MMEngine's registries were tracebacks."""
    monkeypatch.chdir(root)
    source, *arguments = (COMMANDS | OTHERS)[tool]
    part = "test_dataloader['dataset']" if tool == "check_segmentation_data" else "model['backbone']"
    change = change.format(part)
    Path("broken.py").write_text(f"{Path(source).read_text()}\n{change}\ntrain_dataloader = test_dataloader\n")
    assert run(tool, "broken.py", *arguments) == 1
    lines = capfd.readouterr().err.splitlines()
    assert "broken.py" in lines[-1] and "Traceback" not in "".join(lines)
