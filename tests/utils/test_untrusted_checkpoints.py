"""No code in a checkpoint is run by what MMEngine reads with its own functions: resuming, testing, inferencers."""

import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from helpers.makes_a_folder import MakesAFolder
from mmengine.logging import MessageHub
from mmengine.optim import OneCycleLR, OptimWrapper
from mmengine.runner import CheckpointLoader, Runner, checkpoint
from torch import nn

from mmtl.utils.checkpoint import dataset_meta


def training_checkpoint(**extra) -> dict:
    """What MMEngine saves: weights, optimizer, a OneCycle scheduler with its function, and the log."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = OneCycleLR(optimizer, eta_max=1.0, total_steps=10)
    hub = MessageHub("untrusted")
    hub.update_scalar("train/loss", 0.5)
    hub.update_info("cfg", "model = dict(type='A', sizes=[1, -2], mean=(1.0,))\n")
    meta = dict(epoch=3, iter=7, cfg="a = 1\n")
    parts = dict(state_dict=model.state_dict(), optimizer=optimizer.state_dict(), message_hub=hub.state_dict())
    return dict(meta=meta, param_schedulers=[scheduler.state_dict()], **parts) | extra


def test_a_run_with_a_one_cycle_scheduler_is_read_without_a_warning(tmp_path, caplog):
    """Guards: MMEngine's allow-list lacks OneCycle schedulers, so that it unpickles their files without limits."""
    torch.save(training_checkpoint(), tmp_path / "w.pth")
    contents = CheckpointLoader.load_checkpoint(str(tmp_path / "w.pth"))
    assert "weights_only" not in caplog.text
    assert contents["param_schedulers"][0]["anneal_func"](0.0, 2.0, 1.0) == pytest.approx(2.0)
    assert contents["message_hub"]["log_scalars"]["train/loss"].current() == 0.5
    assert contents["message_hub"]["runtime_info"]["cfg"].startswith("model = dict")


@pytest.mark.parametrize("old_format", [False, True])
def test_code_in_a_checkpoint_is_refused_before_it_is_read(tmp_path, old_format):
    """Guards: MMEngine falls back to reading without limits, which runs the code."""
    contents = training_checkpoint(code=MakesAFolder(tmp_path / "made"))
    torch.save(contents, tmp_path / "w.pth", _use_new_zipfile_serialization=not old_format)
    with pytest.raises(ValueError, match="w.pth cannot be read as a checkpoint: it holds"):
        CheckpointLoader.load_checkpoint(str(tmp_path / "w.pth"))
    assert not (tmp_path / "made").exists()


ADDRESSES = ("s3://bucket/w.pth", "petrel:s3://bucket/w.pth", "petrel://w.pth", "pavi://w.pth", "torchvision://w",
             "modelzoo://w", "open-mmlab://w", "openmmlab://local", "mmcls://w", "https://host/w.pth")  # fmt: skip


@pytest.fixture(params=ADDRESSES)
def remote(request, tmp_path, monkeypatch):
    """An address that MMEngine can read, and the file that it fetches from there."""
    file = tmp_path / "hub/checkpoints/w.pth"  # downloaded before
    file.parent.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path))
    storage = SimpleNamespace(get=lambda path: file.read_bytes())
    monkeypatch.setattr(checkpoint, "get_file_backend", lambda *_, **__: storage)
    cloud = SimpleNamespace(name="w.pth", download=lambda path: shutil.copy(file, path))
    monkeypatch.setitem(sys.modules, "pavi", SimpleNamespace(modelcloud=SimpleNamespace(get=lambda path: cloud)))
    models = {"w": "https://host/w.pth", "local": str(file)}
    for name in ("get_torchvision_models", "get_external_models", "get_mmcls_models"):
        monkeypatch.setattr(checkpoint, name, lambda: models)
    return request.param, file


def test_code_in_a_checkpoint_of_any_address_is_refused(tmp_path, remote):
    """Guards: all schemes but that of local files unpickled without restriction, URLs too."""
    address, file = remote
    torch.save(training_checkpoint(code=MakesAFolder(tmp_path / "made")), file)
    with pytest.raises(ValueError, match="cannot be read as a checkpoint: it holds"):
        CheckpointLoader.load_checkpoint(address)
    assert not (tmp_path / "made").exists()


def test_a_checkpoint_of_any_address_is_read_as_a_local_file(tmp_path, remote):
    address, file = remote
    weights = {"backbone.weight": torch.randn(2)}
    torch.save(training_checkpoint(state_dict=weights), file)
    (weight,) = CheckpointLoader.load_checkpoint(address)["state_dict"].values()
    assert torch.equal(weight, weights["backbone.weight"])


ATTACKS = (
    "__import__('os').mkdir({folder!r})",
    "import os\nos.mkdir({folder!r})",
    "a = [os.mkdir({folder!r}) for os in [__import__('os')]]",
    "a = dict(b=__import__('os').mkdir({folder!r}))",
    "_base_ = {folder!r} + '.py'",
    "dict = print\n",
)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", ["config", "cfg"])
def test_a_config_with_code_in_a_checkpoint_is_not_kept(tmp_path, name, attack):
    """Guards: MMEngine executes ``meta.config`` when it resumes and ``cfg`` in inferencers."""
    text = attack.format(folder=str(tmp_path / "made"))
    contents = training_checkpoint(meta={"epoch": 1, "iter": 1, name: text})
    contents["message_hub"]["runtime_info"][name] = text
    torch.save(contents, tmp_path / "w.pth")
    read = CheckpointLoader.load_checkpoint(str(tmp_path / "w.pth"))
    assert name not in read["meta"] and name not in read["message_hub"]["runtime_info"]


def test_a_run_resumes_with_its_schedulers_and_log(tmp_path):
    torch.save(training_checkpoint(), tmp_path / "w.pth")
    model = nn.Linear(2, 2)
    runner = Runner.__new__(Runner)
    assert isinstance(runner, Runner)  # `load_checkpoint` is called as MMEngine's `resume` calls it
    runner.model, runner._hooks, runner.logger = model, [], SimpleNamespace(info=lambda text: None)
    contents = Runner.load_checkpoint(runner, str(tmp_path / "w.pth"), map_location="cpu")
    scheduler = OneCycleLR(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), eta_max=1.0, total_steps=10)
    scheduler.load_state_dict(contents["param_schedulers"][0])
    scheduler.optimizer.step()
    scheduler.step()
    OptimWrapper(scheduler.optimizer).load_state_dict(contents["optimizer"])


@pytest.mark.parametrize("meta", [None, 3, [1], {"dataset_meta": 5}, {"dataset_meta": {"classes": 7}},
                                  {"dataset_meta": {"classes": [1, None]}}, {"CLASSES": {"a": 1}}])  # fmt: skip
def test_odd_metadata_is_ignored(meta):
    assert not dataset_meta({"meta": meta}).get("classes")


@pytest.mark.parametrize("color", [(300, 0, 0), (-1, 0, 0), (1, 2), "abc", None, (0.5, 0, 0), [[1, 2, 3]] * 3])
def test_a_palette_without_colors_is_ignored(color):
    """Guards: segment ended with an OverflowError that named the config."""
    known = dataset_meta({"meta": {"dataset_meta": {"classes": ["a", "b"], "palette": [(1, 2, 255), color]}}})
    assert known == {"classes": ["a", "b"]}
    assert dataset_meta({"meta": {"dataset_meta": {"palette": [[1, 2, 3]]}}}) == {"palette": [[1, 2, 3]]}
