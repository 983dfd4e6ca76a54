import argparse

import numpy as np
import pytest
import torch

from mmtl.utils.checkpoint import read_checkpoint


class Running:
    """Run a command when unpickled without restriction."""

    def __reduce__(self) -> tuple:
        import os

        return os.system, ("echo run",)


@pytest.mark.parametrize("new_format", [True, False])
def test_both_formats_of_torch_are_read(new_format, tmp_path):
    weights = {"state_dict": {"a": torch.arange(3.0)}, "meta": {"epoch": 3}}
    torch.save(weights, tmp_path / "w.pth", _use_new_zipfile_serialization=new_format)
    assert torch.equal(read_checkpoint(tmp_path / "w.pth")["state_dict"]["a"], torch.arange(3.0))


def test_objects_beside_the_weights_are_placeholders(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1)}, "args": argparse.Namespace(lr=1)}, tmp_path / "w.pth")
    checkpoint = read_checkpoint(tmp_path / "w.pth")
    assert torch.equal(checkpoint["state_dict"]["a"], torch.ones(1))
    assert not isinstance(checkpoint["args"], argparse.Namespace)


@pytest.mark.parametrize("content", [b"", b"hello" * 100, b"<!DOCTYPE html><html></html>", b"PK"])
def test_a_file_of_another_kind_is_named(content, tmp_path):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(
        ValueError, match="w.pth cannot be read as a checkpoint: it is (not a checkpoint|missing or truncated)"
    ):
        read_checkpoint(tmp_path / "w.pth")


def test_code_in_a_checkpoint_is_named(tmp_path):
    torch.save({"state_dict": {}, "x": Running()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="it holds posix.system, which could run any code.$"):
        read_checkpoint(tmp_path / "w.pth")


def test_numbers_and_names_of_numpy_in_the_meta_data_are_read(tmp_path):
    """Guards: class names from a NumPy array, or a float16, made a checkpoint "invalid, corrupt or truncated"."""
    classes, rate = tuple(np.array(["ant", "bee"])), np.float16(0.5)
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": {"classes": classes, "rate": rate}}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth")["meta"] == {"classes": ("ant", "bee"), "rate": 0.5}
