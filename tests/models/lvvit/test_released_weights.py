import pytest
import torch
from helpers import golden

from mmtl.models.lvvit.released_weights import convert_released, convert_to_released

CLASSIFIERS = ("lvvit_nano_64", "lvvit_nano_order_64", "vit_plain_nano_64", "lvvit_t_224")
SEGMENTORS = ("seg_pyramid_nano", "seg_fcn_nano", "seg_plain_nano")


def with_heads(segmentor: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    heads = {
        "decode_head.conv_seg.weight": torch.ones(3, 8, 1, 1),
        "auxiliary_head.convs.0.bn.bias": torch.ones(8),
    }
    return segmentor | heads


def released(name: str) -> dict[str, torch.Tensor]:
    return with_heads(golden.released_segmentor(name)) if "seg" in name else golden.released_state_dict(name)


@pytest.mark.parametrize("name", CLASSIFIERS + SEGMENTORS)
def test_a_round_trip_is_the_identity(name):
    weights = released(name)
    back = convert_to_released(convert_released(weights))
    assert list(back) == list(weights)
    assert all(back[key] is weights[key] for key in weights)


def test_a_round_trip_of_a_segmentor_without_heads_is_the_identity():
    weights = golden.released_segmentor("seg_pyramid_nano")
    assert set(convert_to_released(convert_released(weights))) == set(weights)


def test_names_of_heads_side_layers_and_decode_heads():
    classifier = convert_released(released("lvvit_nano_64"))
    assert {"head.fc.weight", "head.token_fc.bias", "backbone.cls_token", "backbone.norm.bias"} < set(classifier)
    segmentor = convert_released(released("seg_pyramid_nano"))
    assert {"neck.side_layer1.0.weight", "decode_head.conv_seg.weight", "backbone.pos_embed"} < set(segmentor)
    assert not any(key.startswith("backbone.side_layer") for key in segmentor)


def test_a_missing_patch_head_becomes_zeros():
    weights = convert_released(released("vit_plain_nano_64"))
    assert weights["head.token_fc.weight"].shape == weights["head.fc.weight"].shape
    assert not weights["head.token_fc.weight"].any() and not weights["head.token_fc.bias"].any()


def test_averaged_weights_are_preferred():
    weights = released("lvvit_nano_64")
    averaged = {key: value + 1 for key, value in weights.items()}
    converted = convert_released({"state_dict": weights, "state_dict_ema": averaged})
    assert torch.equal(converted["backbone.norm.bias"], averaged["norm.bias"])


def test_every_missing_key_is_listed():
    weights = released("lvvit_nano_64")
    for key in (
        "blocks.1.mlp.fc2.bias",
        "patch_embed.bn2.running_var",
        "head.bias",
        "norm.weight",
        "pos_embed",
    ):
        del weights[key]
    with pytest.raises(ValueError, match="missing keys: blocks.1.mlp.fc2.bias, head.bias, norm.weight") as error:
        convert_released(weights)
    assert "patch_embed.bn2.running_var, pos_embed" in str(error.value) and "unexpected" not in str(error.value)


def test_a_missing_block_is_listed():
    weights = {k: v for k, v in released("lvvit_nano_64").items() if not k.startswith("blocks.1.")}
    with pytest.raises(ValueError, match=r"missing keys: blocks.1.attn.proj.bias.*blocks.1.norm2.weight"):
        convert_released(weights)


@pytest.mark.parametrize("name", ["lvvit_nano_64", "seg_pyramid_nano"])
def test_any_single_missing_key_but_a_decode_heads_is_reported(name):
    """Any single deletion is reported by name."""
    weights = released(name)
    for key in [k for k in weights if not k.startswith(("decode_head.", "auxiliary_head."))]:
        with pytest.raises(ValueError, match=f"missing keys: {key}[.]$"):
            convert_released({k: v for k, v in weights.items() if k != key})


def test_every_unexpected_key_is_listed():
    for name, extra in (
        ("lvvit_nano_64", "dist_token"),
        ("seg_pyramid_nano", "backbone.blocks.0.attn.rel_pos"),
    ):
        with pytest.raises(ValueError, match=f"unexpected keys: {extra}, zz.weight"):
            convert_released(released(name) | {extra: torch.ones(1), "zz.weight": torch.ones(1)})


def test_unexpected_keys_of_our_own_models_are_listed():
    weights = convert_released(released("lvvit_nano_64")) | {"neck.conv.weight": torch.ones(1)}
    with pytest.raises(ValueError, match="no names for this neck: unexpected keys: neck.conv.weight"):
        convert_to_released(weights)


def test_weights_that_are_converted_already_are_recognized():
    with pytest.raises(ValueError, match="already mmtl's names.*head.token_fc.weight"):
        convert_released(convert_released(released("lvvit_nano_64")))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value):
    weights = released("lvvit_nano_64")
    weights["blocks.2.attn.qkv.weight"][0, 0] = value
    with pytest.raises(ValueError, match="blocks.2.attn.qkv.weight of the checkpoint holds NaN or infinite"):
        convert_released(weights)
    with pytest.raises(ValueError, match="head.token_fc.bias of the checkpoint holds NaN"):
        convert_to_released(
            convert_released(released("lvvit_nano_64")) | {"head.token_fc.bias": torch.tensor([value])}
        )


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"epoch": 3, "args": "x"}])
def test_contents_without_weights_are_an_error(content):
    with pytest.raises(ValueError, match="must hold tensors by name"):
        convert_released(content)
