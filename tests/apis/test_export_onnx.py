"""The exported graph gives the model's own numbers, for batch sizes that it was not traced with."""

import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.paths import ROOT

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

TOOL = SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "export_onnx.py")))
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
        pytest.param(CLASSIFIER, [], (11,), id="classifier"),
        pytest.param(SEGMENTOR, ["64", "96"], (5, 64, 96), id="segmentor-resized-position-embedding"),
    ],
)
def test_onnxruntime_gives_the_models_logits(text, image_size, shape, tmp_path, capsys):
    (tmp_path / "model.py").write_text(text)
    model = TOOL.build_model(TOOL.load_config(tmp_path / "model.py"), None).eval()
    weights = model.segmentor.state_dict() if len(shape) > 1 else model.state_dict()
    torch.save({"state_dict": weights, "meta": {"dataset_meta": {}}}, tmp_path / "weights.pth")
    size = ["--image-size", *image_size] if image_size else []
    config, target, weights = (str(tmp_path / name) for name in ("model.py", "model.onnx", "weights.pth"))
    TOOL.main([config, target, "--checkpoint", weights, *size])
    session = onnxruntime.InferenceSession(target)
    for batch in (1, 3):
        images = torch.randn(batch, 3, *map(int, image_size or (64, 64)))
        (logits,) = session.run(None, {"images": images.numpy()})
        assert logits.shape == (batch, *shape)
        with torch.no_grad():
            np.testing.assert_allclose(logits, model(images), atol=1e-4)


def test_bad_input_ends_with_one_message_and_no_file(tmp_path):
    config, target = tmp_path / "model.py", tmp_path / "model.onnx"
    config.write_text(CLASSIFIER)
    (tmp_path / "text.pth").write_text("hello world")
    (tmp_path / "cut.py").write_text("model = dict(")
    (tmp_path / "bare.py").write_text("x = 1")
    weights = TOOL.build_model(TOOL.load_config(config), None).state_dict()
    torch.save({"state_dict": weights | {"head.fc.weight": torch.zeros(3, 48)}}, tmp_path / "classes.pth")
    cases = [
        ([tmp_path / "cut.py", target], "cut.py: cannot be read as a config"),
        ([tmp_path / "bare.py", target, "--image-size", "64"], "bare.py has no model with a backbone"),
        ([config, target, "--checkpoint", tmp_path / "text.pth"], "text.pth cannot be read as a checkpoint"),
        ([config, target, "--checkpoint", tmp_path / "classes.pth"], "classes.pth does not fit the model.*head.fc"),
        ([tmp_path / "absent.py", target], "absent.py is not a file"),
        ([config, target, "--checkpoint", tmp_path / "absent.pth"], "absent.pth: no such checkpoint"),
        ([config, target, "--image-size", "60"], "multiples of the patch size 16"),
        ([config, target, "--image-size", "0"], "multiples of the patch size 16"),
        ([config, target, "--image-size", "64", "64", "3"], "--image-size takes one side, or H and W, got 64 64 3"),
    ]
    for arguments, message in cases:
        with pytest.raises(SystemExit, match=rf"^export_onnx: [^\n]*{message}[^\n]*$"):
            TOOL.main([str(argument) for argument in arguments])
        assert not target.exists()


def test_a_segmentor_is_exported_for_its_window():
    configs = ROOT / "configs" / "lvvit"
    sizes = {
        "large-released_upernet_8xb2-160k_ade20k-512x512": (512, 512),
        "tiny_8xb128-tokenlabel-300e_in1k": (224, 224),
    }
    for name, image_hw in sizes.items():
        assert TOOL.default_image_hw(TOOL.load_config(configs / f"lvvit-{name}.py")) == image_hw
