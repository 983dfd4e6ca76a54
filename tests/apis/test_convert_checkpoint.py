import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import golden
from helpers.paths import ROOT
from mmengine.logging import MessageHub

from mmtl.apis.convert import convert_file
from mmtl.models.lvvit.released_weights import convert_released

PATH = ROOT / "tools" / "convert_checkpoint.py"


def run(*arguments: object, preparation: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", f'{preparation} exec "$@"', "-", sys.executable, PATH, *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def read(path: Path) -> dict:
    return torch.load(path, weights_only=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "released.pth"
    torch.save(golden.released_state_dict("lvvit_nano_64"), path)
    return path


def test_a_round_trip_of_a_file_is_the_identity(source, tmp_path):
    converted, back = tmp_path / "new" / "mmtl.pth", tmp_path / "back.pth"
    assert "61 weights" in run(source, converted).stdout
    assert read(converted)["state_dict"].keys() > {"backbone.cls_token", "head.token_fc.weight"}
    convert_file(converted, back, to_released=True)
    weights, expected = read(back)["state_dict"], read(source)
    assert all(torch.equal(weights[key], expected[key]) for key in expected) and weights.keys() == expected.keys()


def test_class_names_are_where_the_inferencers_read_them(tmp_path):
    checkpoint = {
        "state_dict": golden.released_segmentor("seg_fcn_nano"),
        "meta": {"CLASSES": ("wall", "sky"), "PALETTE": [[1, 2, 3], [4, 5, 6]], "epoch": 3},
    }
    torch.save(checkpoint, tmp_path / "released.pth")
    convert_file(tmp_path / "released.pth", tmp_path / "mmtl.pth")
    meta = read(tmp_path / "mmtl.pth")["meta"]
    assert meta == {"dataset_meta": {"classes": ("wall", "sky"), "palette": [[1, 2, 3], [4, 5, 6]]}}


def test_meta_of_another_type_is_ignored(source, tmp_path):
    torch.save({"state_dict": read(source), "meta": "epoch 3"}, tmp_path / "released.pth")
    convert_file(tmp_path / "released.pth", tmp_path / "mmtl.pth")
    assert read(tmp_path / "mmtl.pth")["meta"] == {}


def test_a_training_checkpoint_with_its_log_is_converted_to_released_names(source, tmp_path):
    log = MessageHub.get_instance("test_convert_checkpoint")
    log.update_scalar("train/loss", np.float32(0.5))
    checkpoint = {"state_dict": convert_released(read(source)), "message_hub": log.state_dict(), "meta": {"epoch": 3}}
    torch.save(checkpoint, tmp_path / "epoch_3.pth")
    convert_file(tmp_path / "epoch_3.pth", tmp_path / "back.pth", to_released=True)
    weights, expected = read(tmp_path / "back.pth")["state_dict"], read(source)
    assert all(torch.equal(weights[key], expected[key]) for key in expected) and weights.keys() == expected.keys()


def test_a_file_with_objects_of_other_classes_is_converted(source, tmp_path):
    torch.save({"state_dict": read(source), "args": argparse.Namespace(lr=1)}, tmp_path / "released.pth")
    assert convert_file(tmp_path / "released.pth", tmp_path / "mmtl.pth") == 61


class Printing:
    """Run a command when unpickled without restriction."""

    def __reduce__(self) -> tuple:
        return os.system, ("echo run",)


def broken_files(source: Path) -> dict[str, str]:
    """Write files that cannot be converted, and return what the error must contain by name."""
    intact, folder = source.read_bytes(), source.parent
    (folder / "cut.pth").write_bytes(intact[: len(intact) // 2])
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.pth").write_text("hello world")
    weights = read(source)
    torch.save({"state_dict": weights, "print": Printing()}, folder / "running.pth")
    torch.save({"a": torch.ones(1), "lr": 3}, folder / "other.pth")
    torch.save(weights | {"fc.weight": torch.ones(1)}, folder / "unknown.pth")
    weights["norm.bias"][3] = float("nan")
    torch.save(weights, folder / "nan.pth")
    return {
        "absent.pth": "no such checkpoint",
        "cut.pth": "truncated",
        "empty.pth": "not a checkpoint",
        "text.pth": "not a checkpoint",
        "running.pth": "posix.system",
        "other.pth": "must hold tensors by name.*got lr",
        "unknown.pth": "unexpected keys: fc.weight",
        "nan.pth": "norm.bias of the checkpoint holds NaN",
    }


def test_bad_input_is_named_in_one_line_and_nothing_is_written(source, tmp_path):
    for name, message in broken_files(source).items():
        with pytest.raises((OSError, ValueError), match=rf"^[^\n]*{name}[^\n]*{message}[^\n]*$"):
            convert_file(tmp_path / name, tmp_path / "out" / "mmtl.pth")
        assert not (tmp_path / "out").exists()


def test_a_target_that_cannot_be_written_is_named(source, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for target, reason in {"folder": "Is a directory", "file/mmtl.pth": "(File exists|Not a directory)"}.items():
        with pytest.raises(OSError, match=f"{reason}.*{target[:4]}"):
            convert_file(source, tmp_path / target)


def test_a_full_disk_leaves_no_file(source, tmp_path):
    result = run(source, tmp_path / "out" / "mmtl.pth", preparation="ulimit -f 100; trap '' XFSZ;")
    assert result.returncode == 1 and "Traceback" not in result.stderr and "mmtl.pth" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []
