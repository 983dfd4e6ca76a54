"""MMPretrain's and MMSegmentation's own entry points take our configs and a converted checkpoint."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from helpers import golden
from helpers.config_steps import find_step
from helpers.file_server import file_server
from helpers.paths import ROOT
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain import ImageClassificationInferencer, get_model
from mmseg.apis import MMSegInferencer
from mmseg.registry import MODELS

from mmtl.apis.convert import convert_file
from mmtl.models.lvvit.released_weights import convert_to_released

CLASSIFIER = ROOT / "configs/lvvit/lvvit-tiny_8xb128-tokenlabel-300e_in1k.py"
SEGMENTOR = ROOT / "configs/lvvit/lvvit-small_upernet_8xb2-160k_ade20k-512x512.py"


@pytest.fixture
def mmpretrain_scope() -> Iterator[None]:
    """A segmentation test that ran before leaves mmseg as the default scope of the process."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """A released tiny classifier, converted."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.save(golden.released_state_dict("lvvit_t_224"), folder / "released.pth")
    convert_file(folder / "released.pth", folder / "mmtl.pth")
    return str(folder / "mmtl.pth")


def test_get_model_gives_the_released_numbers(checkpoint):
    model = get_model(str(CLASSIFIER), pretrained=checkpoint)
    with torch.no_grad():
        logits = model(golden.images(2, 224, 224))
    torch.testing.assert_close(logits[:, ::5], golden.outputs("lvvit_t_224")["logits"], atol=2e-5, rtol=0)


def test_image_classification_inferencer_predicts_what_the_model_predicts(checkpoint, mmpretrain_scope):
    image = np.random.RandomState(0).randint(0, 255, (70, 90, 3), np.uint8)  # BGR
    inferencer = ImageClassificationInferencer(str(CLASSIFIER), pretrained=checkpoint, device="cpu")
    (result,) = inferencer([image])
    batch = next(iter(inferencer.preprocess([image])))
    with torch.no_grad():
        inputs = inferencer.model.data_preprocessor(batch, False)["inputs"]
        assert result["pred_label"] == inferencer.model(inputs).argmax().item()
    assert inputs.shape == (1, 3, 224, 224) and len(result["pred_scores"]) == 1000


def test_segmentation_inferencer_takes_a_released_url_and_gives_a_class_for_every_pixel(tmp_path, monkeypatch):
    """The released S model's shape in small: random weights in released names, with class names."""
    config = Config.fromfile(SEGMENTOR)
    config.model.backbone.img_size = 64
    find_step(config.test_dataloader.dataset.pipeline, "Resize").scale = (128, 64)
    config.model.test_cfg.update(crop_size=(64, 64), stride=(43, 43))
    shapes = {key: list(x.shape) for key, x in released_segmentor_of(config).items()}
    weights = {key: golden.released_weight(key, shape) for key, shape in shapes.items()}
    meta = {"CLASSES": [f"class {i}" for i in range(150)], "PALETTE": [[i, 0, 0] for i in range(150)]}
    released = io.BytesIO()
    torch.save({"state_dict": weights, "meta": meta}, released)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with file_server() as server:
        server.files["upernet_lvvit_s.pth"] = released.getvalue()
        inferencer = MMSegInferencer(config, f"{server.url}upernet_lvvit_s.pth", device="cpu")
    assert torch.equal(inferencer.model.neck.side_layer2[0].weight, weights["backbone.side_layer2.0.weight"])
    assert inferencer.model.dataset_meta["classes"][149] == "class 149"
    result = inferencer(np.random.RandomState(0).randint(0, 255, (64, 100, 3), np.uint8))
    assert result["predictions"].shape == (64, 100) and len(np.unique(result["predictions"])) > 1


def released_segmentor_of(config: Config) -> dict[str, torch.Tensor]:
    with DefaultScope.overwrite_default_scope("mmseg"):
        return convert_to_released(MODELS.build(config.model).state_dict())
