from types import SimpleNamespace

import pytest
from helpers.paths import ROOT
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS, LOG_PROCESSORS
from mmengine.visualization import Visualizer

RUNTIME = ROOT / "configs/_base_/pretrain_runtime.py"


def timed_iterations(name: str) -> MessageHub:
    """Log the times of three iterations of 12 images."""
    hub = MessageHub.get_instance(name)
    runner = SimpleNamespace(message_hub=hub, iter=0, max_iters=10, log_processor=SimpleNamespace(window_size=2))
    hook = HOOKS.build(dict(type="mmtl.IterTimerHook"))
    hook.before_train_epoch(runner)
    for runner.iter in range(3):
        hook.before_train_iter(runner, runner.iter)
        hook.after_train_iter(runner, runner.iter, dict(inputs=[0] * 12))
    return hub


def test_images_per_second_count_the_time_of_all_iterations_of_a_logging_interval(monkeypatch):
    """Iterations that do not wait for a GPU end early, and the one that waits takes longer."""
    clock = iter([0, 0, 9, 9, 9, 10, 10, 10, 13, 13])
    monkeypatch.setattr("mmtl.engine.hooks.iter_timer.CLOCK", SimpleNamespace(time=lambda: next(clock)))
    hub = timed_iterations("test_images_per_second")
    assert hub.get_scalar("train/time").data[0].tolist() == [9, 1, 3]
    assert hub.get_scalar("train/images_per_s").current() == 2 * 12 / (1 + 3)


@pytest.mark.parametrize("name", ["pretrain_runtime", "segment_runtime"])
def test_the_log_averages_over_its_interval(name):
    cfg = Config.fromfile(RUNTIME.with_stem(name))
    assert cfg.log_processor.window_size == cfg.default_hooks.logger.interval


def test_training_values_are_averaged_and_validation_values_are_not():
    hub = MessageHub.get_instance("test_means")
    values = dict(train=("loss", "accuracy_class_token", "time"), val=("accuracy/top1", "accuracy/patch_tokens"))
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


def test_times_of_iterations_do_not_depend_on_the_time_of_day(monkeypatch):
    """Guards: with the clock set back, times were negative, and so were rates and the time left."""
    monkeypatch.setattr("time.time", iter(range(10**9, 0, -1000)).__next__)
    hub = timed_iterations("test_clock_set_back")
    assert min(*hub.get_scalar("train/time").data[0], hub.get_scalar("train/images_per_s").current()) > 0
    assert hub.get_info("eta") >= 0
