"""Values fetched once per logging interval are logged as mmengine's hook logs them."""

import copy
import json
import pickle

import pytest
import torch
from helpers.dispatch import Operators
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmtl.engine.hooks.runtime_info import LazyScalars

ITERATIONS, INTERVAL = 10, 4


class Model(BaseModel):
    """A linear model that logs tensors of several types and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 1)
        self.first = 0.0

    def forward(self, inputs, mode="tensor"):
        out = self.fc(torch.stack(inputs))
        self.first = float(inputs[0][0])
        if mode != "loss":
            return []
        return dict(loss=out.square().mean(), accuracy=out.detach().mean().double(), share=torch.tensor([[0.25]]))

    def train_step(self, data, optim_wrapper):
        return super().train_step(data, optim_wrapper) | dict(first=self.first)


def runner_of(work_dir, scope: str, train_cfg: dict, resume: bool = False) -> Runner:
    torch.manual_seed(0)
    data = [dict(inputs=torch.tensor([i, 1.0]) / 10) for i in range(10)]
    name = f"{work_dir.parent.name}_{work_dir.name}_{resume}"  # visualizers of the same name are the same object
    return Runner(
        model=Model(),
        work_dir=str(work_dir),
        experiment_name=name,
        train_dataloader=dict(
            batch_size=2, dataset=data, sampler=dict(type="DefaultSampler", shuffle=False), collate_fn=pseudo_collate
        ),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        default_hooks=dict(
            runtime_info=dict(type=f"{scope}.RuntimeInfoHook"),
            logger=dict(type="LoggerHook", interval=INTERVAL, ignore_last=False),
            checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=3),
        ),
        log_processor=dict(
            by_epoch=train_cfg["by_epoch"], window_size=5, mean_pattern=r".*(loss|accuracy).*",
            custom_cfg=[dict(data_src="loss", log_name="loss_max", method_name="max", window_size=3)],
        ),
        resume=resume,
        log_level="WARNING",
        cfg=Config(dict(work_dir=str(work_dir))),
        visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")], name=name),
        randomness=dict(seed=0),
    )  # fmt: skip


def logged(work_dir) -> list[dict]:
    """Return the logged JSON lines, without times."""
    lines = [line for path in sorted(work_dir.rglob("scalars.json")) for line in path.read_text().splitlines()]
    return [{key: value for key, value in json.loads(line).items() if "time" not in key} for line in lines]


def histories(checkpoint) -> dict:
    hub = torch.load(checkpoint, weights_only=False)["message_hub"]["log_scalars"]
    assert all(type(history) is HistoryBuffer for history in hub.values())
    return {key: [each.tolist() for each in history.data] for key, history in hub.items() if "time" not in key}


LOOPS = {
    "epochs": dict(by_epoch=True, max_epochs=2),
    "iterations": dict(by_epoch=False, max_iters=ITERATIONS),
}


@pytest.mark.parametrize("train_cfg", LOOPS.values(), ids=LOOPS)
def test_log_and_checkpoints_equal_mmengines(tmp_path, train_cfg):
    for scope in ("mmengine", "mmtl"):
        runner_of(tmp_path / scope, scope, train_cfg).train()
    theirs, ours = (logged(tmp_path / scope) for scope in ("mmengine", "mmtl"))
    assert ours == theirs and len(ours) >= 2 and {"loss", "accuracy", "first", "loss_max", "lr"} <= ours[0].keys()
    for name in ("iter_3.pth", "iter_9.pth"):  # saved between logging intervals
        theirs, ours = (histories(tmp_path / scope / name) for scope in ("mmengine", "mmtl"))
        assert ours == theirs
        assert list(ours) == list(theirs) and len(ours["train/loss"][0]) == int(name[5])


def test_a_run_resumed_from_mmengines_checkpoint_continues_its_history(tmp_path):
    runner_of(tmp_path / "run", "mmengine", dict(by_epoch=False, max_iters=6)).train()
    runner_of(tmp_path / "run", "mmtl", LOOPS["iterations"], resume=True).train()
    runner_of(tmp_path / "uninterrupted", "mmengine", LOOPS["iterations"]).train()
    assert histories(tmp_path / "run/iter_9.pth") == histories(tmp_path / "uninterrupted/iter_9.pth")


def test_iterations_between_logs_read_no_value_and_a_log_reads_all_at_once(tmp_path, monkeypatch):
    runner = runner_of(tmp_path, "mmtl", LOOPS["iterations"])
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "RuntimeInfoHook")
    hook.before_run(runner)
    transfers = []
    monkeypatch.setattr(Tensor := torch.Tensor, "tolist", lambda t, to=Tensor.tolist: transfers.append(1) or to(t))
    outputs = dict(loss=torch.tensor(1.0), accuracy=torch.tensor([2.0]))
    with Operators() as operators:
        for step in range(INTERVAL):
            outputs["loss"].fill_(float(step))  # as a compiled step reuses its memory
            hook.after_train_iter(runner, step, outputs=outputs)
    names = [name.split(".")[0] for name, _ in operators.calls]
    assert "_local_scalar_dense" not in names and names.count("stack") == INTERVAL
    assert not transfers
    hub = runner.message_hub
    assert hub.get_scalar("train/loss").mean(3) == 2 and hub.get_scalar("train/accuracy").current() == 2
    assert hub.get_scalar("train/loss").data[0].tolist() == [0, 1, 2, 3] and len(transfers) == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda scalars: pickle.loads(pickle.dumps(scalars)), dict])
def test_copies_and_pickles_have_all_values(copied):
    scalars = LazyScalars(dict(loss=HistoryBuffer([1.0], [1])))
    scalars.add(dict(loss=torch.tensor(2.0, requires_grad=True)))
    history = copied(scalars)["loss"]
    assert type(history) is HistoryBuffer and [each.tolist() for each in history.data] == [[1, 2], [1, 1]]


@pytest.mark.parametrize(
    "read",
    [
        lambda scalars: scalars["loss"],
        lambda scalars: scalars.get("loss"),
        lambda scalars: dict(scalars.items())["loss"],
        lambda scalars: list(scalars.values())[0],
    ],
)
def test_every_way_to_read_gives_the_latest_value(read):
    scalars = LazyScalars(dict(loss=HistoryBuffer(), count=HistoryBuffer()))
    scalars.add(dict(loss=torch.tensor(2.0), count=torch.tensor(3)))
    assert read(scalars).current() == 2 and scalars["count"].current() == 3
    scalars.add(dict(loss=torch.tensor(4.0)))
    assert read(scalars).data[0].tolist() == [2, 4] and scalars.get("other", 5) == 5


def test_values_that_nobody_reads_are_fetched_eventually(monkeypatch):
    monkeypatch.setattr("mmtl.engine.hooks.runtime_info.MAX_PENDING", 5)
    scalars = LazyScalars(dict(loss=HistoryBuffer(max_length=8)))
    for step in range(20):
        scalars.add(dict(loss=torch.tensor(step)))
        assert all(len(entries) <= 5 for entries in scalars.pending.values())
    assert scalars["loss"].data[0].tolist() == list(range(12, 20))
