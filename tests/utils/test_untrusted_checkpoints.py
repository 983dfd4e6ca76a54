"""No code in a checkpoint is run by what MMEngine reads with its own functions: resuming, testing, inferencers."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OneCycleLR, OptimWrapper
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from mmtl.utils.checkpoint import dataset_meta


class RunsCode:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


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
    contents = training_checkpoint(code=RunsCode(tmp_path / "made"))
    torch.save(contents, tmp_path / "w.pth", _use_new_zipfile_serialization=not old_format)
    with pytest.raises(ValueError, match="w.pth cannot be read as a checkpoint: it holds"):
        CheckpointLoader.load_checkpoint(str(tmp_path / "w.pth"))
    assert not (tmp_path / "made").exists()


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
