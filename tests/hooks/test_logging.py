from pathlib import Path
from types import SimpleNamespace

from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS
from mmengine.visualization import Visualizer

RUNTIME = Path(__file__).parents[2] / "configs/_base_/pretrain_runtime.py"


def test_images_per_second_are_the_batchs_images_by_the_iterations_time():
    hub = MessageHub.get_instance("test_images_per_second")
    runner = SimpleNamespace(message_hub=hub, iter=0, max_iters=10)
    hook = HOOKS.build(dict(type="mmtl.IterTimerHook"))
    hook.before_train_epoch(runner)
    hook.before_train_iter(runner, 0)
    hook.after_train_iter(runner, 0, dict(inputs=[0] * 12))
    time, rate = (hub.get_scalar(f"train/{name}").current() for name in ("time", "images_per_s"))
    assert time > 0 and abs(rate * time - 12) < 1e-6


def test_one_flag_adds_tensorboard(tmp_path):
    cfg = Config.fromfile(RUNTIME)
    plain = [backend["type"] for backend in cfg.visualizer.vis_backends]
    assert plain == ["LocalVisBackend", "mmtl.NoVisBackend"]
    cfg.merge_from_dict({"visualizer.vis_backends.1.type": "TensorboardVisBackend"})
    visualizer = Visualizer(vis_backends=cfg.visualizer.vis_backends, save_dir=str(tmp_path))
    visualizer.add_scalars(dict(loss=1.5), step=3)
    visualizer.close()
    assert list(tmp_path.rglob("events.out.tfevents*")) and list(tmp_path.rglob("*.json"))


def test_without_the_flag_its_place_writes_nothing(tmp_path):
    cfg = Config.fromfile(RUNTIME)
    visualizer = Visualizer(vis_backends=cfg.visualizer.vis_backends[1:], save_dir=str(tmp_path))
    visualizer.add_config(cfg)
    visualizer.add_scalars(dict(loss=1.5), step=3)
    visualizer.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
