"""A run logs what it does in a box before its first step, and little else on the screen."""

import logging
import warnings
from types import SimpleNamespace

import pytest
import torch
from helpers import tiny_segmentation as tiny
from helpers.paths import ROOT
from helpers.tiny_runs import log_of, tiny_runner
from mmengine.config import Config
from mmengine.registry import RUNNERS
from torch import nn

from mmtl.engine.hooks.run_summary import (
    MAX_LENGTH,
    describe_batch,
    describe_device,
    describe_length,
    describe_rate,
    draw_box,
    pretrained_sources,
    remedy,
    weights_source,
)
from mmtl.utils import upstream_messages

MAX_LINES = 60  # before the first line of training
MAX_BOX = 8


def run(tmp_path, **changes) -> None:
    """Train the tiny segmentor with the hooks of the recipes."""
    tiny.write_data(tmp_path)
    cfg = Config.fromfile(tiny.write_config(tmp_path))
    runtime = Config.fromfile(ROOT / "configs/_base_/segment_runtime.py")
    cfg.update(runner_type=runtime.runner_type, default_hooks=runtime.default_hooks)
    cfg.default_hooks.logger.interval = 1
    cfg.update(work_dir=str(tmp_path / "run"), experiment_name=f"summary_{tmp_path.name}", **changes)
    cfg.visualizer.name = cfg.experiment_name
    RUNNERS.build(cfg).train()


def box_in(text: str) -> list[str]:
    """Return the lines of the first box with a title."""
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("+-") and " summary_" in line)
    return lines[first : 1 + next(i for i, line in enumerate(lines) if i > first and line.startswith("+-"))]


def test_a_run_logs_a_box_and_few_lines_before_it_trains(tmp_path, capsys):
    run(tmp_path)
    screen = capsys.readouterr()
    before, _, _ = screen.out.partition("Iter(train)")
    box = "\n".join(box_in(before))
    assert len(before.splitlines()) + len(screen.err.splitlines()) <= MAX_LINES
    assert len(box.splitlines()) <= MAX_BOX
    for expected in (
        "4 training and 3 validation images of 3 classes (ground, disc, bar)",
        f"masks in {tmp_path}",
        "WARNING: random initial values",
        "steps    2, constant learning rate",
        "2 images on CPU, SGD with learning rate 0.01",
        str(tmp_path / "run"),
    ):
        assert expected in box
    log = log_of(tmp_path / "run")
    assert "System environment:" in log and "Config:" in log and "Hooks will be executed" in log and box in log


def test_the_screen_shows_everything_at_the_debug_level_and_weights_are_named(tmp_path, capsys):
    weights = tmp_path / "a.pth"
    tiny.save_checkpoint(tiny.write_config(tmp_path), weights)
    run(tmp_path, log_level="DEBUG", load_from=str(weights))
    screen = capsys.readouterr().out
    assert "System environment:" in screen and "Hooks will be executed" in screen
    assert f"weights  loaded from {weights}" in screen and "random" not in "\n".join(box_in(screen))


def test_steps_and_batch_of_a_run(tmp_path):
    schedule = [dict(type="LinearLR", start_factor=0.1, end=1), dict(type="CosineAnnealingLR", begin=1, end=9)]
    optim = dict(optimizer=dict(type="SGD", lr=0.01), accumulative_counts=3)
    runner, _ = tiny_runner(tmp_path / "a", param_scheduler=schedule, optim_wrapper=optim)
    runner.train()
    assert describe_length(runner) == "30 (5 epochs of 6), LinearLR to epoch 1, then CosineAnnealingLR to epoch 5"
    assert describe_batch(runner) == "6 images (3 iterations a step) on CPU, SGD with learning rate 0.01"
    assert weights_source(runner) == ""


def test_the_learning_rate_of_a_one_cycle_schedule_is_its_peak(tmp_path):
    schedule = dict(type="OneCycleLR", eta_max=0.05, total_steps=5, convert_to_iter_based=True)
    runner, _ = tiny_runner(tmp_path / "a", param_scheduler=schedule)
    runner.train()
    assert describe_batch(runner).endswith("with learning rate up to 0.05")
    assert describe_rate([dict(lr=0, initial_lr=0.1), dict(lr=0, initial_lr=0.2)]) == "0.1 to 0.2"


def test_a_device_is_named_with_the_number_of_ranks(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA X")
    model = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=torch.device("cuda", 0))]))
    assert (describe_device(model), describe_device(nn.Linear(1, 1), 2)) == ("NVIDIA X", "2 x CPU")


@pytest.mark.parametrize("name", ["pretrained", "weights", None])
def test_the_remedy_for_random_weights_is_the_variable_of_the_config(name):
    assert (name or "--cfg-options load_from=FILE") in remedy(Config({name: None} if name else {}))


def test_pretrained_weights_of_a_part_of_a_model_other_than_its_head_are_named():
    init_cfg = dict(type="Pretrained", checkpoint="a.pth")
    model = nn.ModuleDict(dict(backbone=nn.Sequential(nn.Linear(1, 1)), head=nn.Linear(1, 1)))
    model["head"].init_cfg = init_cfg
    assert list(pretrained_sources(model)) == []
    model["backbone"][0].init_cfg = [dict(type="TruncNormal"), init_cfg]
    assert list(pretrained_sources(model)) == ["a.pth"]


def test_a_box_has_a_line_for_each_row_of_any_text():
    lines = draw_box("name", dict(a="1\n2", b="x" * 1000)).splitlines()
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1 and len(lines[0]) <= MAX_LENGTH + 4


@pytest.mark.parametrize("options, shown", [([], False), (["default"], True)])
def test_harmless_warnings_are_ignored_unless_python_is_asked_to_show_them(monkeypatch, options, shown):
    monkeypatch.setattr(upstream_messages.sys, "warnoptions", options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        upstream_messages.ignore_harmless_warnings()
        warnings.warn("'pin_memory' argument is set as true but no accelerator is found, then", stacklevel=1)
        warnings.warn("'pin_memory' is another matter", stacklevel=1)
    assert len(caught) == 1 + shown


def test_harmless_records_are_hidden_from_the_screen_only(tmp_path, capsys):
    logger = logging.Logger("harmless")
    for handler in (logging.StreamHandler(), logging.FileHandler(tmp_path / "a.log")):
        logger.addHandler(handler)
    upstream_messages.hide_from_screen(logger)
    texts = [
        '"FileClient" will be deprecated in future',
        "pos_embed is skipped since its requires_grad=False",
    ]
    for text in [*texts, "another record"]:
        logger.warning(text)
    assert capsys.readouterr().err == "another record\n"
    assert (tmp_path / "a.log").read_text().splitlines() == [*texts, "another record"]


def test_only_the_line_of_a_missing_package_is_not_printed(capsys):
    from mmengine.logging import print_log

    for text in ("Could not import OneDL", "Loads checkpoint by unwrapped backend", "another line"):
        print_log(text)
    assert capsys.readouterr().out == "another line\n"


def test_every_logger_of_mmengine_hides_harmless_records_but_at_the_debug_level(tmp_path, capsys):
    """Guards: MMSegmentation's test script builds MMEngine's own Runner, which printed environment and config."""
    from mmengine.logging import MMLogger

    scope = 'Failed to search registry with scope "mmseg" in the "function" registry tree. As a workaround, ...'
    for level in ("INFO", "DEBUG"):
        logger = MMLogger(f"{tmp_path.name}_{level}", logger_name=level, log_level=level)
        for text in ("Config:\na = 1", scope):
            logger.warning(text)
        assert bool(capsys.readouterr().out) == (level == "DEBUG")


def test_weights_without_a_classifier_are_no_warning(tmp_path, capsys):
    from mmengine.logging import MMLogger
    from mmengine.runner.checkpoint import load_state_dict

    model = nn.ModuleDict(dict(model=nn.ModuleDict(dict(stem=nn.Linear(1, 1), classifier=nn.Linear(1, 1)))))
    weights = model.state_dict()
    logger = MMLogger(tmp_path.name, logger_name=tmp_path.name)
    load_state_dict(model, {name: value for name, value in weights.items() if "stem" in name}, logger=logger)
    shown = capsys.readouterr().out
    assert "INFO" in shown and "from scratch, as intended: model.classifier (" in shown and "WARNING" not in shown
    load_state_dict(model, {name: value for name, value in weights.items() if "classifier" in name}, logger=logger)
    assert "WARNING" in capsys.readouterr().out
