"""Train shipped configs on synthetic data: uninterrupted, killed, and resumed. Each run is a forked process.

    python tests/helpers/killed_runs.py FOLDER TASK

Prints JSON: the iterations of each run with their losses.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "configs")]
from helpers.config_steps import find_step  # noqa: E402
from helpers.paths import ROOT  # noqa: E402
from helpers.synthetic_data import write_classification_data, write_segmentation_data  # noqa: E402
from test_golden_losses import CONFIGS  # noqa: E402

ITERATIONS, KILLED_AT, SAVE_EVERY = 10, 8, 3  # epochs of 5 iterations, so both checkpoints are saved inside an epoch


class Recorder(Hook):
    """Append the loss of every iteration to a file, and kill the process after a given iteration."""

    priority = "LOWEST"

    def __init__(self, path: Path, killed_at: int | None) -> None:
        self.path, self.killed_at = path, killed_at

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        with self.path.open("a") as file:
            file.write(f"{runner.iter + 1} {outputs['loss'].item()!r}\n")
        if runner.iter + 1 == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)


def config(task: str, root: Path, work_dir: Path, workers: int) -> Config:
    """Return a shipped config with its hooks, made small, on the data in ``root``."""
    cfg = Config.fromfile(ROOT / CONFIGS[task])
    cfg.work_dir, dataset = str(work_dir), cfg.train_dataloader.dataset
    if task == "pretrain":
        dataset.data_root = str(root / "images")
        load_score_map = find_step(dataset.pipeline, "mmtl.LoadScoreMap")
        load_score_map.update(store=str(root / "score_maps"), image_root=str(root / "images/train"))
        cfg.model.backbone.drop_path_rate = 0.2
        cfg.train_cfg = dict(by_epoch=True, max_epochs=ITERATIONS // 5)
        batch_size = 8
    else:
        dataset.data_root, cfg.model.backbone.init_cfg, batch_size = str(root), None, 3
        cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=ITERATIONS)
    cfg.train_dataloader.update(batch_size=batch_size, num_workers=workers, persistent_workers=workers > 0)
    for name in ("val_dataloader", "val_cfg", "val_evaluator", "test_dataloader", "test_cfg", "test_evaluator"):
        cfg[name] = None
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=SAVE_EVERY)
    cfg.optim_wrapper.accumulative_counts = 4  # so that checkpoints are saved inside an accumulation
    cfg.log_level = "WARNING"
    return cfg


def train(task: str, root: Path, name: str, workers: int, killed_at: int | None = None, resume: bool = False) -> list:
    """Run training in a forked process, and return (iteration, loss) of its iterations."""
    losses = root / f"{name}_{resume}.txt"
    if os.fork() == 0:
        try:
            cfg = config(task, root, root / name, workers)
            cfg.resume, cfg.experiment_name = resume, f"{name}_{resume}"
            runner = Runner.from_cfg(cfg)
            runner.register_hook(Recorder(losses, killed_at))
            runner.train()
        finally:
            os._exit(0)
    os.wait()
    lines = [line.split() for line in losses.read_text().splitlines()]
    return [(int(iteration), float(loss)) for iteration, loss in lines]


def truncate(path: Path) -> None:
    """Truncate a file as a process killed while writing would."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def main(root: Path, task: str) -> None:
    """Train uninterrupted and killed with four workers; pretraining also without workers and a truncated file."""
    torch.set_num_threads(1)
    sys.stdout, printed = sys.stderr, sys.stdout
    (write_classification_data if task == "pretrain" else write_segmentation_data)(root)
    runs = {"uninterrupted": train(task, root, "uninterrupted", 0)}
    for workers in (4, 0) if task == "pretrain" else (4,):
        name = f"workers_{workers}"
        runs[name] = train(task, root, name, workers, KILLED_AT)
        if not workers:
            truncate(root / name / "iter_6.pth")
        runs[f"{name}_resumed"] = train(task, root, name, workers, resume=True)
    print(json.dumps(runs), file=printed, flush=True)  # at the end, Python flushes sys.stdout only


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
