"""The same numbers as the authors' released code, from the same weights (tests/data/golden)."""

import pytest
import torch
from helpers import golden
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmtl.models.batch_augments.mix_token import TokenMix, box_mask, mix_tokens
from mmtl.models.lvvit.released_weights import convert_released
from mmtl.registry import MODELS

NANO = dict(
    embed_dims=48,
    num_layers=3,
    num_heads=4,
    feedforward_channels=144,
    stem_channels=64,
    residual_divisor=2,
)
# Backbone arguments, classes, channels, batch.
CLASSIFIERS = {
    "lvvit_nano_64": (dict(arch=NANO), 11, 48, 4),
    "lvvit_nano_order_64": (
        dict(
            arch=NANO | dict(num_layers=4, stem_channels=128, residual_divisor=3),
            blocks=["full", "attention", "mlp", "full"],
        ),
        11,
        48,
        4,
    ),
    "vit_plain_nano_64": (
        dict(arch=NANO | dict(stem_channels=None, residual_divisor=1), qkv_bias=True, head_dims=16),
        11,
        48,
        2,
    ),
    "lvvit_t_224": (dict(arch="tiny"), 1000, 240, 2),
    "lvvit_s_224": (dict(arch="small"), 1000, 384, 2),
    "lvvit_m_384": (dict(arch="medium"), 1000, 512, 2),
}
SEGMENTORS = {  # form of the side layers, batch, height, width
    "seg_pyramid_nano": ("pyramid", 2, 64, 64),
    "seg_pyramid_nano_nonsquare": ("pyramid", 1, 96, 128),
    "seg_fcn_nano": ("fcn", 2, 64, 64),
    "seg_plain_nano": (None, 1, 96, 128),
}
# Arrays of the large models are stored as slices, see tests/data/golden/README.md.
SLICES = {
    "tokens": (slice(None), slice(None, None, 14), slice(None, None, 16)),
    "logits": (slice(None), slice(None, None, 5)),
    "aux_logits": (slice(None), slice(None, None, 52), slice(None, None, 50)),
}
TOLERANCE = 2e-5  # 10 times stricter than required: float32 rounding gives 5e-6


def build_classifier(backbone: dict, num_classes: int, in_channels: int) -> nn.Module:
    return MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=dict(type="mmtl.LVViT", **backbone),
            head=dict(type="mmtl.TokenLabelHead", num_classes=num_classes, in_channels=in_channels),
        )
    )


@pytest.fixture(scope="module", params=CLASSIFIERS)
def case(request) -> tuple[str, nn.Module, Tensor, dict[str, Tensor]]:
    name = request.param
    backbone, num_classes, channels, batch = CLASSIFIERS[name]
    size = int(name.rsplit("_", 1)[1])
    model = build_classifier(dict(backbone, img_size=size), num_classes, channels)
    model.load_state_dict(convert_released(golden.released_state_dict(name)), strict=True)
    return name, model, golden.images(batch, size, size), golden.outputs(name)


def assert_equal(array: str, ours: Tensor, name: str, expected: Tensor) -> None:
    stored = ours if name.endswith("_64") else ours[SLICES[array]]
    torch.testing.assert_close(stored, expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_evaluation_equals_released_code(case):
    name, model, images, expected = case
    model.eval()
    tokens = model.backbone(images)[-1]
    assert_equal("tokens", tokens, name, expected["tokens"])
    assert_equal("logits", model.head.fc(tokens[:, 0]), name, expected["cls_logits"])
    assert_equal("logits", model.head((tokens,)), name, expected["logits"])
    if "aux_logits" in expected:
        assert_equal("aux_logits", model.head.token_fc(tokens[:, 1:]), name, expected["aux_logits"])
    if name.endswith("_64"):
        assert_equal("logits", model(images), name, expected["logits"])


@torch.no_grad()
def test_training_pass_with_mix_token_equals_released_code(case):
    name, model, images, expected = case
    if "train_bbox" not in expected:
        pytest.skip("released without a training pass")
    model.train()
    for module in model.modules():
        if isinstance(module, DropPath):
            module.eval()
    side = images.shape[-1] // 16
    flip = torch.arange(len(images) - 1, -1, -1)
    mix = TokenMix(box_mask((side, side), tuple(expected["train_bbox"].tolist())), flip)
    tokens = model.backbone(images, mix)[-1]
    assert_equal("logits", model.head.fc(tokens[:, 0]), name, expected["train_cls_logits"])
    unmixed = mix_tokens(model.head.token_fc(tokens[:, 1:]), *mix)
    assert_equal("aux_logits", unmixed, name, expected["train_aux_logits_unmixed"])


@torch.no_grad()
@pytest.mark.parametrize("name", SEGMENTORS)
def test_segmentation_features_equal_released_code(name):
    form, batch, height, width = SEGMENTORS[name]
    backbone = dict(
        type="mmtl.LVViT",
        arch=NANO | dict(num_layers=4),
        img_size=64,
        out_type="featmap",
        out_indices=(0, 1, 2, 3),
        final_norm=False,
        norm_cfg=dict(type="LN", eps=1e-6),
    )
    segmentor = nn.ModuleDict({"backbone": MODELS.build(backbone)})
    if form is not None:
        side_layers = dict(type="mmtl.SideLayers", in_channels=48, out_channels=40, form=form)
        segmentor["neck"] = MODELS.build(side_layers)
    weights = convert_released(golden.released_segmentor(name.removesuffix("_nonsquare")))
    segmentor.load_state_dict(weights, strict=True)
    maps = segmentor.eval()["backbone"](golden.images(batch, height, width))
    maps = segmentor["neck"](maps) if form is not None else maps
    expected = golden.outputs(name)
    assert len(maps) == len(expected) == 4
    for level, feature_map in enumerate(maps):
        torch.testing.assert_close(feature_map[:, ::6], expected[f"out{level}"], atol=TOLERANCE, rtol=0)


PARAMETERS = {
    ("tiny", 224): 8_534_720,
    ("small", 224): 26_151_824,
    ("small", 384): 26_297_744,
    ("medium", 224): 55_830_544,
    ("medium", 384): 56_025_104,
    ("medium", 448): 56_131_600,
    ("large", 448): 150_473_552,
    ("large", 512): 150_657_872,
}


@pytest.mark.parametrize(("arch", "img_size"), PARAMETERS)
def test_parameter_counts_equal_released_models(arch, img_size):
    channels = {"tiny": 240, "small": 384, "medium": 512, "large": 768}[arch]
    with torch.device("meta"):
        model = build_classifier(dict(arch=arch, img_size=img_size), 1000, channels)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[arch, img_size]
