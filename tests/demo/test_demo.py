from pathlib import Path

from helpers.paths import ROOT
from mmengine.config import Config

from mmtl.demo.steps import WORK, make_steps

CONFIGS = Path("configs/demo")


def test_every_step_reads_only_what_earlier_steps_make(monkeypatch):
    monkeypatch.chdir(ROOT)
    made = []
    for step in make_steps(CONFIGS):
        configs = [Config.fromfile(word) for word in step.command if word.endswith(".py")]
        for config in configs if step.run else []:
            assert Path(config.work_dir) == step.run
        read = [word for word in step.command if word.startswith(("data/", "work_dirs/"))]
        read += [
            config[name] for config in configs if step.run for name in ("pretrained", "score_maps") if config.get(name)
        ]
        for path in map(Path, read):
            inside = [root for root in (*made, step.out) if root == path or root in path.parents]
            assert inside or path == WORK, f"{step.name} reads {path}"
        made.append(step.out)


def test_later_steps_read_the_last_checkpoint_of_training(monkeypatch):
    monkeypatch.chdir(ROOT)
    ends = {}
    for step in make_steps(CONFIGS):
        if step.run:
            config = Config.fromfile(step.command[3])
            train = config.train_cfg
            ends[step.run] = f"iter_{train.max_iters}.pth" if "max_iters" in train else f"epoch_{train.max_epochs}.pth"
            if "pretrained" in config:
                assert Path(config.pretrained).name == ends[Path(config.pretrained).parent]
        for word in step.command:
            if word.endswith(".pth"):
                assert Path(word).name == ends[Path(word).parent]
