"""Load weights of another grid or another architecture into LVViT."""

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner.checkpoint import load_checkpoint, load_state_dict
from mmpretrain.models.utils import resize_pos_embed

from mmtl.models import LVViT, TokenLabelClassifier, TokenLabelHead
from mmtl.models.lvvit.arch import arch_of_weights
from mmtl.models.lvvit.released_weights import convert_to_released

NANO = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48, stem_channels=16, residual_divisor=2)


def classifier() -> TokenLabelClassifier:
    return TokenLabelClassifier(LVViT(NANO, img_size=32), head=TokenLabelHead(3, 24))


def resized(pos_embed: torch.Tensor, source_hw: tuple, target_hw: tuple) -> torch.Tensor:
    return resize_pos_embed(pos_embed, source_hw, target_hw, "bicubic", 1)


@pytest.fixture
def checkpoint(tmp_path) -> tuple[LVViT, str]:
    """A backbone of grid 4 x 4 inside a classifier's checkpoint."""
    model = LVViT(NANO, img_size=64)
    path = tmp_path / "classifier.pth"
    weights = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": weights | {"head.fc.bias": torch.zeros(3)}, "meta": {}}, path)
    return model, str(path)


@pytest.mark.parametrize(("img_size", "grid_hw"), [(96, (6, 6)), ((32, 96), (2, 6)), (64, (4, 4))])
def test_init_cfg_pretrained_resizes_the_position_embedding_once(checkpoint, img_size, grid_hw):
    source, path = checkpoint
    init_cfg = dict(type="Pretrained", checkpoint=path, prefix="backbone.")
    model = LVViT(NANO, img_size=img_size, init_cfg=init_cfg)
    model.init_weights()
    assert torch.equal(model.pos_embed, resized(source.pos_embed, (4, 4), grid_hw))
    assert torch.equal(model.blocks[1].mlp.fc1.weight, source.blocks[1].mlp.fc1.weight)


def test_init_cfg_pretrained_logs_what_it_loads_and_refuses_to_load_nothing(checkpoint, tmp_path):
    _, path = checkpoint
    MMLogger.get_instance(f"loading_{tmp_path.name}", log_file=str(tmp_path / "run.log"))
    pretrained = dict(type="Pretrained", checkpoint=path)
    model = LVViT(NANO, img_size=64, final_norm=False, init_cfg=pretrained | dict(prefix="backbone."))
    model.init_weights()
    count = len(model.state_dict())
    assert (
        f"LVViT: {count} of {count} weights loaded; missing keys: none; unexpected keys: norm.weight, norm.bias"
        in (tmp_path / "run.log").read_text()
    )
    with pytest.raises(ValueError, match="Nothing to load: .* Set prefix='backbone.' in init_cfg"):
        LVViT(NANO, img_size=64, init_cfg=pretrained).init_weights()
    with pytest.raises(AssertionError, match="trunk. is not in the pretrained model"):
        LVViT(NANO, img_size=64, init_cfg=pretrained | dict(prefix="trunk.")).init_weights()


def test_load_from_resizes_the_position_embedding_inside_a_larger_model(checkpoint):
    source, path = checkpoint
    segmentor = torch.nn.ModuleDict({"backbone": LVViT(NANO, img_size=96)})
    load_checkpoint(segmentor, path, strict=False)
    assert torch.equal(segmentor["backbone"].pos_embed, resized(source.pos_embed, (4, 4), (6, 6)))


@pytest.mark.parametrize(("img_size", "grid_hw"), [((32, 64), (2, 4)), (64, (4, 4)), ((64, 16), (4, 1))])
def test_a_checkpoint_records_its_grid_which_the_number_of_tokens_does_not_determine(tmp_path, img_size, grid_hw):
    source = LVViT(NANO, img_size=(32, 128))  # 2 x 8 tokens, as many as 4 x 4
    state = torch.nn.ModuleDict({"backbone": source}).state_dict()
    torch.save({"state_dict": state}, tmp_path / "wide.pth")
    model = torch.nn.ModuleDict({"backbone": LVViT(NANO, img_size=img_size)})
    loaded = torch.load(tmp_path / "wide.pth", weights_only=True)["state_dict"]
    load_state_dict(model, loaded)
    assert torch.equal(model["backbone"].pos_embed, resized(source.pos_embed, (2, 8), grid_hw))


def test_resizing_at_load_time_equals_resizing_on_the_fly(checkpoint):
    source, path = checkpoint
    model = LVViT(NANO, img_size=96)
    model.load_state_dict(source.state_dict())
    images = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(model.eval()(images)[0], source.eval()(images)[0])


def test_another_arch_of_the_family_is_named():
    weights = LVViT("tiny", img_size=32).state_dict()
    with pytest.raises(ValueError, match="looks like LV-ViT arch 'tiny', this LVViT is LV-ViT arch 'small'"):
        LVViT("small", img_size=32).load_state_dict(weights, strict=False)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (dict(num_layers=3), "num_layers 3,"),
        (dict(feedforward_channels=72), "feedforward_channels 72,"),
        (dict(stem_channels=None), "stem_channels None, this"),
        (dict(stem_channels=8), "stem_channels 8, this"),
    ],
)
def test_a_custom_arch_is_described(changed, words):
    weights = LVViT(NANO | changed, img_size=32).state_dict()
    with pytest.raises(ValueError, match=f"looks like an arch with embed_dims 24, .*{words}"):
        LVViT(NANO, img_size=32).load_state_dict(weights, strict=False)


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        (dict(qkv_bias=True), {}, r"has blocks\.0\.attn\.qkv\.bias, .* which this LVViT lacks"),
        ({}, dict(qkv_bias=True), r"lacks blocks\.0\.attn\.qkv\.bias, .* which this LVViT has"),
        (dict(blocks=["full", "mlp"]), {}, r"lacks blocks\.1\.attn\.proj\.bias, .* with the blocks and qkv_bias"),
    ],
)
def test_blocks_of_another_kind_are_an_error_whichever_side_has_more(theirs, ours, words):
    weights = LVViT(NANO, img_size=32, **theirs).state_dict()
    with pytest.raises(ValueError, match=words):
        LVViT(NANO, img_size=32, **ours).load_state_dict(weights, strict=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["backbone.blocks.1.norm2.bias", "head.fc.weight"])
def test_weights_that_are_not_finite_are_named(key, value, tmp_path):
    model = classifier()
    weights = {name: x.clone() for name, x in model.state_dict().items()}
    weights[key].view(-1)[1] = value
    torch.save({"state_dict": weights}, tmp_path / "diverged.pth")
    with pytest.raises(ValueError, match=f"{key} of the checkpoint holds NaN or infinite"):
        load_checkpoint(model, str(tmp_path / "diverged.pth"))


@pytest.mark.parametrize("load", [load_state_dict, torch.nn.Module.load_state_dict])
def test_released_names_are_converted_when_they_are_loaded(load):
    source, model = classifier(), classifier()
    load(model, convert_to_released(source.state_dict()))
    torch.testing.assert_close(model.state_dict(), source.state_dict(), atol=0, rtol=0)


def change_classes(weights: dict) -> None:
    for name in ("head.weight", "aux_head.weight", "head.bias", "aux_head.bias"):
        weights[name] = weights[name][:2]


def drop_a_weight(weights: dict) -> None:
    del weights["blocks.1.norm1.bias"]


def add_a_weight(weights: dict) -> None:
    weights["blocks.1.norm3.bias"] = torch.zeros(2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_classes, r"head.fc.bias \(2,\), expected \(3,\), .* such as its number of classes"),
        (drop_a_weight, "missing keys: blocks.1.norm1.bias"),
        (add_a_weight, "unexpected keys: blocks.1.norm3.bias"),
    ],
)
def test_released_weights_that_do_not_fit_are_refused_by_mmengines_loading_too(change, words):
    """MMEngine only logs what does not fit, so that a model would predict with a random head."""
    model = classifier()
    weights = convert_to_released(model.state_dict())
    change(weights)
    with pytest.raises(ValueError, match=words):
        load_state_dict(model, weights)


def test_a_checkpoint_with_another_models_names_is_refused():
    with pytest.raises(ValueError, match="Nothing to load: the checkpoint has layer1.weight, but no weight"):
        load_state_dict(classifier(), {"layer1.weight": torch.zeros(1)})


def test_heads_without_a_backbone_load():
    model = torch.nn.ModuleDict({"backbone": LVViT(NANO, img_size=32), "head": torch.nn.Linear(2, 2)})
    weights = {f"head.{k}": v for k, v in torch.nn.Linear(2, 2).state_dict().items()}
    model.load_state_dict(weights, strict=False)
    torch.testing.assert_close(model["head"].state_dict(prefix="head."), weights)


@pytest.mark.parametrize("missing", ["pos_embed", "blocks."])
def test_without_blocks_or_position_embedding_the_arch_is_unknown(missing):
    weights = LVViT(NANO, img_size=32).state_dict()
    assert arch_of_weights(weights)["num_layers"] == 2
    assert arch_of_weights({name: value for name, value in weights.items() if not name.startswith(missing)}) == {}
