"""After ``import mmtl``, MMPretrain and MMSegmentation know our models and the authors' weights by name."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import mmpretrain
import numpy as np
import pytest
import torch
import yaml
from helpers import golden
from helpers.file_server import FileServer, file_server
from helpers.paths import ROOT
from mmpretrain.apis.model import ModelHub
from mmseg.apis import MMSegInferencer

from mmtl.models import LVViT
from mmtl.models.lvvit import convert_to_released

SMALL = "lvvit-small_8xb128-tokenlabel-300e_in1k"
IMAGE = np.random.RandomState(0).randint(0, 255, (70, 90, 3), np.uint8)
ENTRIES = yaml.safe_load((ROOT / "configs/lvvit/metafile.yml").read_text())["Models"]
RELEASED = {entry["Name"]: entry["Weights"] for entry in ENTRIES if "Weights" in entry}
RECORDED = {  # recorded from the authors' models
    "lvvit-tiny_8xb128-tokenlabel-300e_in1k": "lvvit_t_224",
    SMALL: "lvvit_s_224",
    "lvvit-medium_8xb64-tokenlabel-30e_in1k-384px": "lvvit_m_384",
}


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[FileServer]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with file_server() as server:
        yield server


def test_get_model_and_inferencers_take_a_name_and_download_the_released_file_once(server, monkeypatch):
    """S at full size; the file has the released names, wrapped as timm saves them."""
    file = io.BytesIO()
    torch.save({"epoch": 310, "arch": "lvvit_s", "state_dict": golden.released_state_dict("lvvit_s_224")}, file)
    monkeypatch.setattr(ModelHub._models_dict[SMALL], "weights", server.url + "lvvit_s.pth.tar")
    server.files["lvvit_s.pth.tar"] = file.getvalue()

    model = mmpretrain.get_model(SMALL, pretrained=True)
    with torch.no_grad():
        logits = model(golden.images(2, 224, 224))
    torch.testing.assert_close(logits[:, ::5], golden.outputs("lvvit_s_224")["logits"], atol=2e-5, rtol=0)
    result = mmpretrain.inference_model(SMALL, IMAGE)
    assert result["pred_class"] == mmpretrain.inference_model(model, IMAGE)["pred_class"]
    assert server.requests == 1


def test_every_config_is_known_by_name():
    names = {path.stem for path in (ROOT / "configs").glob("[!_]*/*.py")}
    assert names <= set(mmpretrain.list_models())
    assert {name for name in names if name.startswith("lvvit")} <= set(mmpretrain.list_models("*lvvit*"))
    assert {name for name in names if "_ade20k-" in name} <= set(MMSegInferencer.list_models("mmseg"))


@pytest.mark.parametrize("name", [SMALL, "lvvit-small_upernet_8xb2-160k_ade20k-512x512"])
def test_mmpretrain_builds_classifiers_and_segmentors_by_name(name):
    with torch.device("meta"):
        model = mmpretrain.get_model(name)
    assert isinstance(model.backbone, LVViT)
    assert model._metainfo.weights == RELEASED[name]


def test_mmseg_inferencer_finds_segmentors_by_name():
    name = "lvvit-small_upernet_8xb2-160k_ade20k-512x512"
    config, weights = MMSegInferencer._load_model_from_metafile(SimpleNamespace(scope="mmseg"), name)
    assert weights == RELEASED[name] and config.model.backbone.arch == "small"


def test_import_mmtl_alone_is_cheap_and_enough():
    lines = """
import sys
import mmtl
assert not {"torch", "mmengine", "mmpretrain", "mmseg"} & sys.modules.keys()
from mmpretrain import list_models
assert len(list_models("*lvvit-small*")) > 5
from mmengine.runner import CheckpointLoader
from mmseg.apis import MMSegInferencer
assert CheckpointLoader._get_checkpoint_loader("https://host/w.pth").__module__ == "mmtl.utils.checkpoint"
"""
    subprocess.run([sys.executable, "-c", lines], check=True)


@pytest.mark.parametrize("name", [name for name in RELEASED if name.endswith(("_in1k", "px"))])
def test_every_released_classifier_fits_its_config(name):
    """Segmentors: tests/models/lvvit/test_released_segmentors.py."""
    with torch.device("meta"):
        model = mmpretrain.get_model(name)
    ones = {key: torch.ones(()).expand(weight.shape) for key, weight in model.state_dict().items()}  # take no memory
    released = convert_to_released(ones)
    if name in RECORDED:
        shapes = json.loads((golden.FOLDER / f"{RECORDED[name]}.keys.json").read_text())
        assert {key: list(weight.shape) for key, weight in released.items()} == shapes
    pixels = int(re.search(r"-(\d{3})-", RELEASED[name] + "-224-")[1])  # in the file's name; T's has none
    assert len(released["pos_embed"][0]) == (pixels // 16) ** 2 + 1
    model.load_state_dict(released, assign=True)
    assert not any(weight.is_meta for weight in model.parameters())
