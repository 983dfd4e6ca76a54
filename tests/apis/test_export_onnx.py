"""The exported graph computes the model's results, for batch and image sizes that it was not traced with."""

import json
from argparse import ArgumentParser

import numpy as np
import pytest
import torch
from helpers.paths import ROOT

from mmtl.apis.export_onnx import build_model, export_onnx, load_config, resolve_image_hw, write_onnx
from mmtl.apis.onnx_graph import AdaptiveMeans, Graph, GraphOptions, replace_adaptive_pooling
from mmtl.cli.export_onnx import main

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

BACKBONE = """dict(
    type="mmtl.LVViT", img_size=64, **{options},
    arch=dict(
        embed_dims=48, num_layers={layers}, num_heads=4, feedforward_channels=96, stem_channels=16, residual_divisor=2
    ),
)"""
CLASSIFIER = f"""
default_scope = "mmpretrain"
model = dict(
    type="mmtl.TokenLabelClassifier",
    backbone={BACKBONE.format(options={}, layers=1)},
    head=dict(type="mmtl.TokenLabelHead", num_classes=11, in_channels=48),
)
"""
FEATURES = dict(out_type="featmap", out_indices=(0, 1, 2, 3), final_norm=False, blocks=["full", "mlp", "mlp", "mlp"])
SEGMENTOR = f"""
default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    backbone={BACKBONE.format(options=FEATURES, layers=4)},
    neck=dict(type="mmtl.SideLayers", in_channels=48, out_channels=40, norm_cfg=dict(type="SyncBN")),
    decode_head=dict(
        type="UPerHead", in_channels=[48, 48, 48, 40], in_index=[0, 1, 2, 3], channels=16, num_classes=5,
        norm_cfg=dict(type="SyncBN"), align_corners=False, pool_scales=(1, 3),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(32, 32)),
)
"""
BINARY = 'model["decode_head"].update(num_classes=2, out_channels=1, threshold=0.4)\n'
NORMALIZATION = """
kind = dict(Cls="ClsDataPreprocessor", Seg="SegDataPreProcessor")["{}"]
convert = dict(to_rgb=True) if kind.startswith("Cls") else dict(bgr_to_rgb=True, size=(64, 64))
model["data_preprocessor"] = dict(type=kind, mean=[1, 2, 3], std=[4, 5, 6], **convert)
"""


def run_file(target, images):
    """Return onnxruntime's output and the file's metadata."""
    session = onnxruntime.InferenceSession(str(target))
    metadata = session.get_modelmeta().custom_metadata_map
    return session.run(None, {"images": images.numpy()})[0], {key: json.loads(text) for key, text in metadata.items()}


def test_a_classifier_computes_its_logits_for_other_batch_sizes(tmp_path):
    (tmp_path / "model.py").write_text(CLASSIFIER)
    model = build_model(load_config(tmp_path / "model.py"), None)
    meta = {"dataset_meta": {"classes": [f"c{index}" for index in range(11)]}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, tmp_path / "weights.pth")
    options, differences = export_onnx(tmp_path / "model.py", tmp_path / "a.onnx", tmp_path / "weights.pth")
    assert options.image_hw == (64, 64) and max(differences.values()) < 1e-5
    images = torch.randn(4, 3, 64, 64)
    logits, metadata = run_file(tmp_path / "a.onnx", images)
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(images), atol=1e-5)
    assert metadata["classes"] == meta["dataset_meta"]["classes"]
    assert (metadata["image_size"], metadata["dynamic"]) == ([64, 64], False)


# Grids smaller and larger than that of the position embedding (4 x 4), of one patch and of other aspect ratios.
SIZES = ((64, 64), (16, 16), (32, 112), (96, 80))


@pytest.mark.parametrize("kind", ["classifier", "segmentor"])
def test_a_dynamic_model_computes_pytorchs_results_at_any_size(kind, tmp_path, capsys):
    text = CLASSIFIER if kind == "classifier" else SEGMENTOR + BINARY
    flags = ["--softmax"] if kind == "classifier" else ["--argmax", "--fp16"]
    (tmp_path / "model.py").write_text(text + NORMALIZATION.format("Cls" if kind == "classifier" else "Seg"))
    torch.manual_seed(0)
    model = build_model(load_config(tmp_path / "model.py"), None)
    weights = getattr(model, "segmentor", model).state_dict()
    torch.save({"state_dict": weights}, tmp_path / "weights.pth")
    files = [str(tmp_path / name) for name in ("model.py", "a.onnx")]
    main(ArgumentParser(), [*files, "--dynamic", *flags, "--checkpoint", str(tmp_path / "weights.pth")])
    assert capsys.readouterr().out.count("largest difference from PyTorch") == 3
    for hw in SIZES:
        images = torch.randn(2, 3, *hw)
        found, metadata = run_file(tmp_path / "a.onnx", images)
        with torch.no_grad():
            logits = model(images)
        if kind == "classifier":
            np.testing.assert_allclose(found, logits.softmax(1), atol=1e-5)
        else:  # float16 may decide otherwise only near the threshold
            expected = logits[:, 0].sigmoid().sub(0.4)
            assert found.shape == (2, *hw) and found.dtype == np.int64
            assert ((expected > 0).numpy() == found)[expected.abs() > 5e-3].all()
    assert (metadata["stride"], metadata["dynamic"], metadata["mean"]) == (16, True, [1.0, 2.0, 3.0])
    assert (metadata["channel_order"], metadata["output"]) == ("RGB", flags[0].strip("-"))
    if kind == "segmentor":
        assert (len(metadata["classes"]), len(metadata["palette"]), metadata["threshold"]) == (2, 2, 0.4)
        assert metadata["precision"] == "float16"


class Shift(torch.nn.Module):
    """Logits of two classes from the first pixel."""

    factor = 1.0

    def forward(self, images):
        return images[:, :2, 0, 0] * self.factor


class FixedSize(torch.nn.Module):
    def forward(self, images):
        return images.mean(1).reshape(len(images), 64 * 96)


class FixedSizeInGraph(torch.nn.Module):
    def forward(self, images):
        return images.mean((2, 3)) * int(images.shape[2])


@pytest.mark.parametrize("output", ["logits", "softmax", "argmax"])
def test_a_file_that_disagrees_with_pytorch_is_not_kept(output, tmp_path, monkeypatch):
    target = tmp_path / "a.onnx"
    target.write_text("earlier")
    wrong = lambda self, images: self.finish(self.model(images).flip(1))  # noqa: E731
    monkeypatch.setattr(Graph, "forward", wrong)
    with pytest.raises(ValueError, match=r"must compute the \w+ of PyTorch up to .* at 64 x 64 pixels.*No file"):
        write_onnx(Shift(), target, GraphOptions((64, 64), output=output), {})
    assert target.read_text() == "earlier" and len(list(tmp_path.iterdir())) == 1


def test_a_model_that_overflows_in_half_precision_is_refused(tmp_path):
    model = Shift()
    model.factor = 1e5
    with pytest.raises(ValueError, match="must compute .* Leave out --fp16"):
        write_onnx(model, tmp_path / "a.onnx", GraphOptions((64, 64), fp16=True), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model", [FixedSize(), FixedSizeInGraph()], ids=["model", "graph"])
def test_a_model_or_graph_that_fixes_the_size_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="^The (exported )?model [^\n]*Leave out --dynamic"):
        write_onnx(model, tmp_path / "a.onnx", GraphOptions((64, 96), stride=32), {})
    assert not list(tmp_path.iterdir())


class FixedBatch(torch.nn.Module):
    def forward(self, images):
        return images.mean((2, 3)) * int(images.shape[0])


def test_a_graph_that_fixes_the_batch_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="FixedBatch must take any batch size, got one that is fixed at the 2 images"):
        write_onnx(FixedBatch(), tmp_path / "a.onnx", GraphOptions((64, 64)), {})
    assert not list(tmp_path.iterdir())


VIT = dict(type="mmtl.TimmBackbone", model_name="vit_tiny_patch16_224", depth=1, embed_dim=12, num_heads=2)
VOLO_ARCH = dict(layers=(1, 1, 1, 1), embed_dims=(8, 12, 12, 12), num_heads=(2, 3, 3, 3), stem_hidden_dim=4)
VOLO = dict(type="mmtl.VOLO", arch=VOLO_ARCH, patch_size=8)


@pytest.mark.parametrize("backbone, dynamic", [(VIT, True), (VOLO, False)])
def test_timm_vit_takes_any_size_and_volo_any_batch(backbone, dynamic, tmp_path):
    pytest.importorskip("timm")
    head = dict(type="mmtl.TokenLabelHead", num_classes=11, in_channels=12)
    model = dict(type="mmtl.TokenLabelClassifier", backbone=dict(backbone, img_size=32), head=head)
    (tmp_path / "model.py").write_text(f"model = {model}")
    _, differences = export_onnx(tmp_path / "model.py", tmp_path / "a.onnx", dynamic=dynamic)
    assert len(differences) == (3 if dynamic else 2) and max(differences.values()) < 1e-5


@pytest.mark.parametrize("size_hw", [(1, 1), (4, 7), (13, 6)])
@pytest.mark.parametrize("cells", [2, 3, (6, 1)])
def test_adaptive_pooling_by_products_is_pytorchs(size_hw, cells):
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(cells))
    images = torch.randn(2, 3, *size_hw)
    expected = model(images)
    replace_adaptive_pooling(model)
    assert isinstance(model[0], AdaptiveMeans)
    torch.testing.assert_close(model(images), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", [dict(num_classes=3), dict(num_classes=2, out_channels=1, threshold=0.3)])
def test_labels_are_those_of_mmsegmentation(head):
    """A label that MMSegmentation does not predict counts as a difference."""
    from mmseg.models import EncoderDecoder
    from mmseg.models.decode_heads import FCNHead

    head = FCNHead(in_channels=4, channels=4, num_convs=0, concat_input=False, **head)
    segmentor = type("Segmentor", (), dict(decode_head=head, out_channels=head.out_channels, align_corners=False))
    logits = torch.randn(2, head.out_channels, 5, 6)
    samples = EncoderDecoder.postprocess_result(segmentor, logits)
    expected = torch.cat([sample.pred_sem_seg.data for sample in samples])
    graph = Graph(torch.nn.Identity(), "argmax", head.threshold)
    labels = graph.finish(logits)
    assert torch.equal(labels, expected.long()) and graph.difference(labels, logits) == 0
    labels[0, 2, 3] = (labels[0, 2, 3] + 1) % head.num_classes
    assert graph.difference(labels, logits) > 0


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
        ([tmp_path / "absent.py"], "absent.py: no such file"),
        ([config, tmp_path / "absent.pth"], "absent.pth: no such checkpoint"),
        ([config, None, [60]], "multiples of the patch size 16"),
        ([config, None, [0]], "multiples of the patch size 16"),
        ([config, None, [64, 64, 3]], "--image-size must be one side, or H and W, got 64 64 3"),
    ]
    with pytest.raises(ValueError, match="--image-size must be multiples of the stride 16 with --dynamic, got"):
        export_onnx(config, target, image_size=[60], dynamic=True)
    for opset in (17, 99):
        with pytest.raises(ValueError, match=rf"--opset must be from 18 to \d+, got {opset}"):
            export_onnx(config, target, opset=opset)
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
