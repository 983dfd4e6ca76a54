"""A name of MMPretrain's model zoo has a config and the address of its weights."""

import io
from types import SimpleNamespace

import pytest
import torch
from helpers.file_server import file_server
from helpers.online_annotators import write_cnn
from mmengine.config import Config
from mmpretrain.apis import ModelHub
from mmpretrain.registry import MODELS

from mmtl.annotators.annotator import Inference
from mmtl.annotators.load import load_annotator


def test_pretrained_weights_of_a_name_are_downloaded(tmp_path, monkeypatch):
    config = Config.fromfile(write_cnn(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    torch.manual_seed(1)
    model, file = MODELS.build(config.model), io.BytesIO()
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=["ant", "bee", "cat"]))), file)
    with file_server() as server:
        server.files["weights.pth"] = file.getvalue()
        found = SimpleNamespace(config=config, weights=server.url + "weights.pth")
        monkeypatch.setattr(ModelHub, "get", lambda name: found)
        annotator = load_annotator("resnet_in_the_zoo", "pretrained", "cpu", Inference())
    weights = annotator.dense.state_dict().values()
    assert any(torch.equal(weight, model.head.fc.weight) for weight in weights)
    assert annotator.description["class_names"] == ["ant", "bee", "cat"]
    assert annotator.description["checkpoint"] == "weights.pth"


def test_without_known_weights_a_checkpoint_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(ModelHub, "get", lambda name: SimpleNamespace(config=Config.fromfile(path), weights=None))
    path = write_cnn(tmp_path)
    for name in (path, "resnet_in_the_zoo"):
        with pytest.raises(ValueError, match=f"{name}: no pretrained weights are known. Give a checkpoint"):
            load_annotator(name, "pretrained", "cpu", Inference())
    with pytest.raises(ValueError, match="resnet_in_the_zoo: give --pretrained, a checkpoint"):
        load_annotator("resnet_in_the_zoo", None, "cpu", Inference())
