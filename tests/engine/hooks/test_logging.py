from types import SimpleNamespace

from helpers.paths import ROOT
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS, LOG_PROCESSORS
from mmengine.visualization import Visualizer

RUNTIME = ROOT / "configs/_base_/pretrain_runtime.py"


def test_images_per_second_are_the_images_of_a_batch_divided_by_its_time():
    hub = MessageHub.get_instance("test_images_per_second")
    runner = SimpleNamespace(message_hub=hub, iter=0, max_iters=10)
    hook = HOOKS.build(dict(type="mmtl.IterTimerHook"))
    hook.before_train_epoch(runner)
    hook.before_train_iter(runner, 0)
    hook.after_train_iter(runner, 0, dict(inputs=[0] * 12))
    time, rate = (hub.get_scalar(f"train/{name}").current() for name in ("time", "images_per_s"))
    assert time > 0 and abs(rate * time - 12) < 1e-6


def test_training_values_are_averaged_and_validation_values_are_not():
    hub = MessageHub.get_instance("test_means")
    values = dict(
        train=("loss", "accuracy_class_token", "images_per_s"), val=("accuracy/top1", "accuracy/patch_tokens")
    )
    for mode, keys in values.items():
        for key in keys:
            hub.update_scalar(f"{mode}/{key}", 1.0)
            hub.update_scalar(f"{mode}/{key}", 3.0)
    loop = SimpleNamespace(dataloader=[0] * 10)
    runner = SimpleNamespace(message_hub=hub, epoch=2, iter=20, train_loop=loop, val_loop=loop)
    processor = LOG_PROCESSORS.build(dict(type="LogProcessor", **Config.fromfile(RUNTIME).log_processor))
    for mode, expected in (("train", 2.0), ("val", 3.0)):
        logged = processor._collect_scalars([], runner, mode)
        assert {key: logged[key] for key in values[mode]} == dict.fromkeys(values[mode], expected)


def test_one_option_adds_tensorboard(tmp_path):
    cfg = Config.fromfile(RUNTIME)
    plain = [backend["type"] for backend in cfg.visualizer.vis_backends]
    assert plain == ["LocalVisBackend", "mmtl.NoVisBackend"]
    cfg.merge_from_dict({"visualizer.vis_backends.1.type": "TensorboardVisBackend"})
    visualizer = Visualizer(vis_backends=cfg.visualizer.vis_backends, save_dir=str(tmp_path))
    visualizer.add_scalars(dict(loss=1.5), step=3)
    visualizer.close()
    assert list(tmp_path.rglob("events.out.tfevents*")) and list(tmp_path.rglob("*.json"))


def test_the_placeholder_backend_writes_nothing(tmp_path):
    cfg = Config.fromfile(RUNTIME)
    visualizer = Visualizer(vis_backends=cfg.visualizer.vis_backends[1:], save_dir=str(tmp_path))
    visualizer.add_config(cfg)
    visualizer.add_scalars(dict(loss=1.5), step=3)
    visualizer.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
