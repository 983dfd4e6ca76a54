"""The exported graph computes the model's logits, for batch sizes that it was not traced with."""

import numpy as np
import pytest
import torch
from helpers.paths import ROOT

from mmtl.apis.export_onnx import build_model, export_onnx, load_config, resolve_image_hw

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

BACKBONE = """dict(
    type="mmtl.LVViT", img_size=64, **{options},
    arch=dict(embed_dims=48, num_layers=4, num_heads=4, feedforward_channels=96, stem_channels=16, residual_divisor=2),
)"""
CLASSIFIER = f"""
default_scope = "mmpretrain"
model = dict(
    type="mmtl.TokenLabelClassifier",
    backbone={BACKBONE.format(options={})},
    head=dict(type="mmtl.TokenLabelHead", num_classes=11, in_channels=48),
)
"""
FEATURES = dict(out_type="featmap", out_indices=(0, 1, 2, 3), final_norm=False)
SEGMENTOR = f"""
default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    backbone={BACKBONE.format(options=FEATURES)},
    neck=dict(type="mmtl.SideLayers", in_channels=48, out_channels=40, norm_cfg=dict(type="SyncBN")),
    decode_head=dict(
        type="UPerHead", in_channels=[48, 48, 48, 40], in_index=[0, 1, 2, 3], channels=16, num_classes=5,
        norm_cfg=dict(type="SyncBN"), align_corners=False,
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(32, 32)),
)
"""


@pytest.mark.parametrize(
    ("text", "image_size", "shape"),
    [
        pytest.param(CLASSIFIER, None, (11,), id="classifier"),
        pytest.param(SEGMENTOR, (64, 96), (5, 64, 96), id="segmentor-resized-position-embedding"),
    ],
)
def test_onnxruntime_computes_the_models_logits(text, image_size, shape, tmp_path):
    (tmp_path / "model.py").write_text(text)
    model = build_model(load_config(tmp_path / "model.py"), None)
    weights = model.segmentor.state_dict() if len(shape) > 1 else model.state_dict()
    torch.save({"state_dict": weights, "meta": {"dataset_meta": {}}}, tmp_path / "weights.pth")
    target = tmp_path / "model.onnx"
    image_hw = export_onnx(tmp_path / "model.py", target, tmp_path / "weights.pth", image_size)
    assert image_hw == (image_size or (64, 64))
    session = onnxruntime.InferenceSession(str(target))
    for batch in (1, 3):
        images = torch.randn(batch, 3, *image_hw)
        (logits,) = session.run(None, {"images": images.numpy()})
        assert logits.shape == (batch, *shape)
        with torch.no_grad():
            np.testing.assert_allclose(logits, model(images), atol=1e-4)


def test_user_errors_name_the_file_and_write_nothing(tmp_path):
    config, target = tmp_path / "model.py", tmp_path / "model.onnx"
    config.write_text(CLASSIFIER)
    (tmp_path / "text.pth").write_text("hello world")
    (tmp_path / "cut.py").write_text("model = dict(")
    (tmp_path / "bare.py").write_text("x = 1")
    weights = build_model(load_config(config), None).state_dict()
    torch.save({"state_dict": weights | {"head.fc.weight": torch.zeros(3, 48)}}, tmp_path / "classes.pth")
    cases = [
        ([tmp_path / "cut.py"], "cut.py cannot be read as a config"),
        ([tmp_path / "bare.py", None, [64]], "bare.py has no model with a backbone"),
        ([config, tmp_path / "text.pth"], "text.pth cannot be read as a checkpoint"),
        ([config, tmp_path / "classes.pth"], "classes.pth does not fit the model.*head.fc"),
        ([tmp_path / "absent.py"], "absent.py is not a file"),
        ([config, tmp_path / "absent.pth"], "absent.pth: no such checkpoint"),
        ([config, None, [60]], "multiples of the patch size 16"),
        ([config, None, [0]], "multiples of the patch size 16"),
        ([config, None, [64, 64, 3]], "--image-size must be one side, or H and W, got 64 64 3"),
    ]
    for (path, *more), message in cases:
        with pytest.raises((OSError, ValueError), match=rf"^[^\n]*{message}[^\n]*$"):
            export_onnx(path, target, *more)
        assert not target.exists()


def test_a_segmentor_is_exported_for_its_window():
    configs = ROOT / "configs" / "lvvit"
    sizes = {
        "large-released_upernet_8xb2-160k_ade20k-512x512": (512, 512),
        "tiny_8xb128-tokenlabel-300e_in1k": (224, 224),
    }
    for name, image_hw in sizes.items():
        assert resolve_image_hw(load_config(configs / f"lvvit-{name}.py"), None) == image_hw
