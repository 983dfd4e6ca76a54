"""Ten training steps of each task give the golden losses, which a refactor must not change.

After an intended change of the numbers, write the new list with ``python tests/configs/test_golden_losses.py`` and
give the reason in the commit message.
"""

import json
from pathlib import Path

import pytest
from helpers import small_segmentation_recipes as segmentation
from helpers.config_steps import find_step
from helpers.paths import DATA, ROOT
from helpers.synthetic_data import write_classification_data, write_segmentation_data
from mmengine.config import Config
from mmengine.runner import Runner

GOLDEN = DATA / "golden_losses.json"
CONFIGS = {
    "pretrain": "configs/examples/lvvit-nano_1xb128-tokenlabel-mixtoken-3e_cifar10.py",
    "segment": "configs/examples/lvvit-nano_upernet_1xb8-1k_camvid-96x96.py",
    "segment_small": "configs/lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py",
}


def ten_losses(task: str, work_dir: Path) -> list[float]:
    """Return the total losses of ten steps of a shipped config on synthetic data, in one process without workers."""
    cfg = Config.fromfile(ROOT / CONFIGS[task])
    cfg.work_dir, data_root = str(work_dir / "run"), work_dir / "data"
    dataset = cfg.train_dataloader.dataset
    if task == "pretrain":
        write_classification_data(data_root)
        dataset.data_root = str(data_root / "images")
        load_score_map = find_step(dataset.pipeline, "mmtl.LoadScoreMap")
        load_score_map.update(store=str(data_root / "score_maps"), image_root=str(data_root / "images/train"))
        cfg.model.head.num_classes = 10
    elif task == "segment_small":  # the full model, on crops of 64 x 64
        segmentation.set_crop(cfg, (64, 64))
        dataset.data_root = str(data_root)
        segmentation.write_images(dataset, num_classes=150)
    else:
        write_segmentation_data(data_root)
        dataset.data_root = str(data_root)
        cfg.model.backbone.init_cfg = None
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=10, val_interval=500)
    cfg.param_scheduler = None
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.default_hooks = dict(logger=dict(type="LoggerHook", interval=1), checkpoint=None)
    cfg.custom_hooks, cfg.experiment_name = [], f"golden_{task}"
    cfg.randomness = dict(seed=0, deterministic=True)
    runner = Runner.from_cfg(cfg)
    runner.train()
    history = runner.message_hub.log_scalars["train/loss"].data
    return [float(loss) for loss in history[0][-10:]]


@pytest.mark.parametrize("task", CONFIGS)
def test_ten_steps_give_the_golden_losses(task: str, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())[task]
    assert ten_losses(task, tmp_path) == pytest.approx(golden, rel=2e-3)


if __name__ == "__main__":
    import tempfile

    losses = {task: ten_losses(task, Path(tempfile.mkdtemp())) for task in CONFIGS}
    GOLDEN.write_text(json.dumps(losses, indent=1) + "\n")
