"""Ten training steps of each task give the golden losses: a refactor leaves them as they are.

After a change of the numbers that is meant, write the new list with ``python tests/test_train.py`` and say why in the
commit.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import segmentation
from mmengine.config import Config
from mmengine.runner import Runner

from mmtl.score_maps import ScoreMap, ScoreMapWriter

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "data" / "golden_losses.json"
CONFIGS = {
    "pretrain": "configs/own_data/lvvit-nano_1xb128-tokenlabel-mixtoken-3e_cifar10.py",
    "segment": "configs/own_data/lvvit-nano_upernet_1xb8-1k_camvid-96x96.py",
    "segment_small": "configs/lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py",
}


def draw_classification_data(root: Path) -> None:
    """Ten class folders of four noisy images whose colour is their class, and score maps that say so."""
    generator = np.random.default_rng(0)
    writer = ScoreMapWriter(root / "score_maps", num_classes=10, grid_hw=(4, 4), topk=3)
    for label in range(10):
        folder = root / "images" / "train" / f"class_{label}"
        folder.mkdir(parents=True)
        for index in range(4):
            image = generator.normal(25 * label, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{index}.png"), image)
            classes = np.stack([np.roll(np.arange(10), -label - i)[:3] for i in range(16)]).reshape(4, 4, 3)
            scores = np.sort(generator.normal(3, 2, (4, 4, 3)), axis=-1)[..., ::-1]
            writer.add(
                f"class_{label}/{index}.png", ScoreMap(scores.astype(np.float16), classes.astype(np.uint16), None)
            )
    writer.close()


def draw_segmentation_data(root: Path) -> None:
    """Eight images of two textures, split by a line."""
    generator = np.random.default_rng(0)
    for index in range(8):
        labels = np.zeros((60, 80), np.uint8)
        labels[:, 5 * index + 20 :] = index % 10 + 1
        image = generator.normal(100 + 10 * labels[..., None], 15, (60, 80, 3)).clip(0, 255).astype(np.uint8)
        for kind, picture, suffix in (("images", image, "jpg"), ("annotations", labels, "png")):
            folder = root / kind / "train"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{index}.{suffix}"), picture)


def ten_losses(task: str, work_dir: Path) -> list[float]:
    """Total losses of ten steps of a shipped config on drawn data, one process, no workers."""
    cfg = Config.fromfile(ROOT / CONFIGS[task])
    cfg.work_dir, data_root = str(work_dir / "run"), work_dir / "data"
    dataset = cfg.train_dataloader.dataset
    if task == "pretrain":
        draw_classification_data(data_root)
        dataset.data_root = str(data_root / "images")
        dataset.pipeline[1].update(store=str(data_root / "score_maps"), image_root=str(data_root / "images/train"))
        cfg.model.head.num_classes = 10
    elif task == "segment_small":  # the whole model, on crops of 64 x 64
        segmentation.set_crop(cfg, (64, 64))
        dataset.data_root = str(data_root)
        segmentation.draw(dataset, num_classes=150)
    else:
        draw_segmentation_data(data_root)
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
