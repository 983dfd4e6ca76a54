"""Options that change nothing are reported, others are not."""

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmtl.utils.config_file import read_config, warn_of_changes_without_effect

TEXT = """
epochs = 300
steps = dict(crop=dict(size=4))
score_maps = "maps"
train_cfg = dict(by_epoch=True, max_epochs=epochs)
train_dataloader = dict(dataset=dict(pipeline=[steps["crop"]]))
compile = False
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "config.py").write_text(TEXT)
    return tmp_path / "config.py"


@pytest.fixture
def warnings(monkeypatch):
    logger, lines = MMLogger.get_instance("unused_options"), []
    monkeypatch.setattr(logger, "handle", lambda r: lines.append(r.getMessage()) if r.levelno >= 30 else None)
    return lines


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ({"epochs": 3}, "epochs=3 changes nothing"),
        ({"steps.crop.size": 8}, "steps.crop.size=8 changes nothing"),
        ({"max_epochs": 3}, "max_epochs=3 changes nothing"),
        ({"score_maps": "others"}, "score_maps='others' changes nothing"),
        ({"score_maps": None}, None),
        ({"compile": True}, None),
        ({"epochs": 300}, None),
        ({"train_cfg.max_epochs": 3}, None),
        ({"work_dir": "x", "resume": True, "tta_model": dict(type="A"), "auto_scale_lr.enable": True}, None),
    ],
)
@pytest.mark.parametrize("door", ["tool", "run"])
def test_an_option_without_effect_is_a_warning_by_its_name(path, warnings, options, reported, door):
    if door == "tool":
        read_config(path, options)
    else:
        config = Config.fromfile(path)
        config.merge_from_dict(options)
        warn_of_changes_without_effect(config)
    assert len(warnings) == (reported is not None)
    assert not reported or reported in warnings[0]


def test_a_config_without_its_file_is_not_compared(warnings):
    warn_of_changes_without_effect(Config(dict(epochs=3)))
    assert not warnings
