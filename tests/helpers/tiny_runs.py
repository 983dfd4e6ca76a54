"""Runs of a linear model on ten numbers, in a real Runner, that record what they trained on."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn


class Model(BaseModel):
    """A linear model whose loss is multiplied by ``scale``."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 1)
        self.scale = 1.0

    def forward(self, inputs: list[Tensor], mode: str = "tensor") -> dict[str, Tensor] | list:
        loss = self.fc(torch.stack(inputs)).square().mean() * self.scale
        return dict(loss_a=loss, loss_b=loss.detach() * 0 + 1) if mode == "loss" else [0]


class Images(list):
    """A dataset of ``n`` images of two numbers, the first of them its index."""

    metainfo = dict(classes=["a"])

    def __init__(self, n: int) -> None:
        super().__init__(dict(inputs=torch.tensor([float(i), 1.0])) for i in range(n))


class Recorder(Hook):
    """Record the first number of each image, the learning rate and the iteration."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.images, self.rates, self.iterations, self.epochs = [], [], [], []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        self.images.append([round(float(image[0])) for image in data_batch["inputs"]])
        self.rates.append(runner.optim_wrapper.get_lr()["lr"][0])
        self.iterations.append(runner.iter)
        self.epochs.append(runner.epoch)


def tiny_runner(work_dir: Path, images: int = 12, batch_size: int = 2, **arguments: Any) -> tuple[Runner, Recorder]:
    """Return a Runner of five epochs with a few of mmtl's hooks, and what records it; arguments replace its own."""
    torch.manual_seed(0)
    hooks = dict(
        runtime_info=dict(type="mmtl.RuntimeInfoHook"),
        logger=dict(type="LoggerHook", interval=5),
        checkpoint=dict(type="mmtl.CheckpointHook", by_epoch=False, interval=100),
        exact_resume=dict(type="mmtl.ExactResumeHook"),
    )
    loader = dict(
        batch_size=batch_size,
        dataset=Images(images),
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=pseudo_collate,
    )
    loader.update(arguments.pop("loader", {}))
    cfg = Config(dict(work_dir=str(work_dir), auto_scale_lr=arguments.get("auto_scale_lr")))
    cfg.update(arguments.pop("cfg", {}))
    settings = dict(
        model=Model(),
        work_dir=str(work_dir),
        experiment_name=f"{work_dir.parent.name}_{work_dir.name}_{torch.rand(()).item()}",
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=5),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
        default_hooks=hooks | arguments.pop("hooks", {}),
        log_level="WARNING",
        cfg=cfg,
        randomness=dict(seed=0),
    )
    runner = Runner(**{**settings, **arguments})
    recorder = Recorder()
    runner.register_hook(recorder)
    return runner, recorder


def log_of(work_dir: Path) -> str:
    """Return the text of all logs of a run."""
    return "".join(path.read_text() for path in sorted(work_dir.rglob("*.log")))
