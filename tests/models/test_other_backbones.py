"""MixToken in mmpretrain's backbones equals mixing by hand, and tokens have the labels of their position."""

import copy

import numpy as np
import pytest
import torch
from helpers.score_map_batches import random_maps
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch._dynamo.testing import CompileCounterWithBackend

from mmtl.models.batch_augments.mix_token import TokenMix, mix_tokens
from mmtl.models.other_backbones import mask_on_grid, mixed_after_patch_embedding

NUM_CLASSES = 5
TRANSFORMER = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24)
MIXER = dict(embed_dims=12, num_layers=2, tokens_mlp_dims=8, channels_mlp_dims=24)
SWIN = dict(embed_dims=6, depths=[1, 1, 1], num_heads=[1, 2, 2])
POOL = dict(layers=[1, 1, 1, 1], embed_dims=[4, 6, 8, 10], mlp_ratios=[1, 1, 1, 1], layer_scale_init_value=1.0)
T2T = dict(num_layers=2, layer_cfgs=dict(num_heads=2), t2t_cfg=dict(token_dims=8))
VIT = dict(type="VisionTransformer", arch=TRANSFORMER, img_size=16, patch_size=4)
# The backbones of configs/token_labeling, tiny; and their channels, image side and token stride.
BACKBONES = dict(
    vit=(dict(VIT, out_type="raw"), 12, 16, 4),
    vit_map=(dict(VIT, out_type="featmap"), 12, 16, 4),
    t2t=(dict(T2T, type="T2T_ViT", img_size=64, embed_dims=12, out_type="raw"), 12, 64, 16),
    mixer=(dict(type="MlpMixer", arch=MIXER, img_size=24, patch_size=4), 12, 24, 4),
    swin=(dict(type="SwinTransformer", arch=SWIN, img_size=64, window_size=2, out_indices=(2,)), 24, 64, 16),
    poolformer=(dict(type="PoolFormer", arch=POOL), 10, 64, 32),
    resnext=(dict(type="ResNeXt", depth=50, groups=2, width_per_group=2, base_channels=8), 256, 64, 32),
)
WITH_PATCH_EMBEDDING = [name for name in BACKBONES if name != "resnext"]


def build(name, augment=None, **options):
    torch.manual_seed(0)
    backbone, in_channels, _, _ = copy.deepcopy(BACKBONES[name])
    backbone.update(options)
    head = dict(num_classes=NUM_CLASSES, in_channels=in_channels, channels_first=name == "mixer")
    preprocessor = dict(batch_augments=dict(augments=[dict(type=augment)])) if augment else None
    model = MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone={**backbone, "type": f"mmpretrain.{backbone['type']}"},
            head=dict(type="mmtl.TokenLabelHead", **head),
            data_preprocessor=preprocessor,
        )
    )
    model.init_weights()
    return model


def batch_for(name, batch=2):
    side, generator = BACKBONES[name][2], torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, generator=generator)
    scores, classes, _ = random_maps(2, batch, (4, 4), 2, NUM_CLASSES)
    samples = []
    for b in range(batch):
        sample = DataSample().set_gt_label(b % NUM_CLASSES)
        sample.set_field(scores[b].half(), "score_map_scores")
        sample.set_field(classes[b].int(), "score_map_classes")
        sample.set_field(torch.eye(3)[:2], "view_affine")
        samples.append(sample)
    return dict(inputs=list(images), data_samples=samples)


def some_mix(num_tokens):
    mask = torch.ones(num_tokens, dtype=torch.bool)
    mask[1 : num_tokens // 2 + 1] = False
    return TokenMix(mask, torch.tensor([1, 0]))


@pytest.mark.parametrize("name", BACKBONES)
def test_token_stride_is_found(name):
    model = build(name)
    assert model.data_preprocessor.token_stride == BACKBONES[name][3]
    assert model.backbone.training


@pytest.mark.parametrize(
    "name, augment",
    [(name, "mmtl.MixToken") for name in WITH_PATCH_EMBEDDING] + [(name, "mmtl.CutMix") for name in BACKBONES],
)
def test_each_trains_for_a_few_steps(name, augment):
    np.random.seed(3)
    model, data = build(name, augment).train(), batch_for(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    before, totals = copy.deepcopy(model.state_dict()), []
    for _ in range(6):
        prepared = model.data_preprocessor(copy.deepcopy(data), training=True)
        assert ("token_mix" in prepared) == (augment == "mmtl.MixToken")
        loss, _ = model.parse_losses(model(**prepared, mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert np.isfinite(totals).all() and min(totals[1:]) < totals[0]
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    moved = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert any("backbone" in key for key in moved) and "head.token_fc.weight" in moved
    assert model.eval()(model.data_preprocessor(data)["inputs"]).shape == (2, NUM_CLASSES)


def blocks_by_hand(name, backbone, images, token_mix):
    """The backbone's forward pass written out, with the tokens mixed by a loop after patch embedding."""
    embedding = backbone.tokens_to_token if name == "t2t" else backbone.patch_embed
    if name == "poolformer":
        tokens = embedding(images)
        grid_hw, tokens = tokens.shape[-2:], tokens.flatten(2).transpose(1, 2)
    else:
        tokens, grid_hw = embedding(images)
    mixed = tokens.clone()
    side = int(len(token_mix.mask) ** 0.5)
    factor = grid_hw[0] // side  # patches per output token
    for n in range(tokens.shape[1]):
        row, column = n // grid_hw[1], n % grid_hw[1]
        if not token_mix.mask[row // factor * side + column // factor]:
            mixed[:, n] = tokens.flip(0)[:, n]
    if name == "poolformer":
        x = mixed.transpose(1, 2).unflatten(2, grid_hw)
        for stage in backbone.network:
            x = stage(x)
        return getattr(backbone, f"norm{backbone.out_indices[-1]}")(x)
    if name in ("vit", "vit_map", "t2t"):
        x = torch.cat((backbone.cls_token.expand(2, -1, -1), mixed), dim=1) + backbone.pos_embed
        for layer in backbone.encoder if name == "t2t" else backbone.layers:
            x = layer(x)
        x = (backbone.norm if name == "t2t" else backbone.ln1)(x)
        return x[:, 1:].transpose(1, 2).unflatten(2, grid_hw) if name == "vit_map" else x
    if name == "mixer":
        for layer in backbone.layers:
            mixed = layer(mixed)
        return backbone.norm1(mixed).transpose(1, 2)
    for stage in backbone.stages:
        mixed, grid_hw = stage(mixed, grid_hw)
    return backbone.norm2(mixed).transpose(1, 2).unflatten(2, grid_hw)


@pytest.mark.parametrize("name", WITH_PATCH_EMBEDDING)
def test_mixed_forward_equals_mixing_the_tokens_by_hand(name):
    backbone = build(name).eval().backbone
    side, stride = BACKBONES[name][2:]
    images, token_mix = torch.randn(2, 3, side, side), some_mix((side // stride) ** 2)
    with mixed_after_patch_embedding(backbone, token_mix):
        feature = backbone(images)[-1]
    torch.testing.assert_close(feature, blocks_by_hand(name, backbone, images, token_mix))
    plain = backbone(images)[-1]
    assert not torch.allclose(plain, feature), "the hook did nothing"
    nothing = TokenMix(torch.ones_like(token_mix.mask), token_mix.partner)
    with mixed_after_patch_embedding(backbone, nothing):
        torch.testing.assert_close(backbone(images)[-1], plain)


def test_the_compiled_losses_of_mixed_images_are_those_of_plain_python():
    torch._dynamo.reset()
    model, token_mix = build("vit").train(), some_mix(16)
    prepared = model.data_preprocessor(batch_for("vit"), training=True)
    found = torch.compile(model, backend="eager")(**prepared, token_mix=token_mix, mode="loss")
    expected = model(**prepared, token_mix=token_mix, mode="loss")
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(model(**prepared, mode="loss")["loss_token"], expected["loss_token"])


@pytest.mark.parametrize("name", ["vit", "t2t", "mixer", "swin"])
def test_steps_with_drop_path_and_new_masks_compile_one_graph(name):
    torch._dynamo.reset()
    backend, options = CompileCounterWithBackend("eager"), dict(drop_path_rate=0.2) if name != "mixer" else {}
    model = build(name, "mmtl.MixToken", **options).train()
    model.compile_training(backend=backend, fullgraph=True)  # a graph break is an error
    for seed in range(3):
        np.random.seed(seed)
        model(**model.data_preprocessor(batch_for(name), training=True), mode="loss")
    assert backend.frame_count == 1


def test_the_hook_goes_with_the_forward_pass_also_when_it_fails():
    backbone = build("vit").backbone
    with pytest.raises(ValueError, match="mask of 5 output tokens does not fit the 4x4 patches"):
        with mixed_after_patch_embedding(backbone, some_mix(5)):
            backbone(torch.zeros(2, 3, 16, 16))
    assert not backbone.patch_embed._forward_hooks


def test_all_patches_that_swin_merges_into_a_token_show_the_image_of_its_label():
    """Merging by hand, as an average: no output token has parts of both images."""
    mask = some_mix(16).mask  # a 4 x 4 output grid
    fine = mask_on_grid(mask, (16, 16))
    source = mix_tokens(torch.tensor([0.0, 1.0]).view(2, 1, 1).expand(2, 256, 1), fine, torch.tensor([1, 0]))
    merged = torch.nn.functional.avg_pool2d(source.view(2, 1, 16, 16), 4).flatten(1)
    assert torch.equal(merged[0], 1 - mask.float()) and torch.equal(merged[1], mask.float())


def test_each_image_may_have_its_own_mask_on_a_finer_grid():
    masks = torch.rand(3, 6) > 0.5  # 2 x 3
    fine = mask_on_grid(masks, (4, 6)).view(3, 4, 6)
    for y in range(4):
        for x in range(6):
            assert torch.equal(fine[:, y, x], masks[:, y // 2 * 3 + x // 2])


@pytest.mark.parametrize("num_tokens, grid_hw", [(4, (2, 3)), (6, (4, 4)), (16, (2, 2)), (4, (3, 3))])
def test_a_grid_that_is_not_a_multiple_is_refused(num_tokens, grid_hw):
    with pytest.raises(ValueError, match="does not fit"):
        mask_on_grid(torch.ones(num_tokens, dtype=torch.bool), grid_hw)


def test_mixtoken_without_patch_embedding_is_refused_when_the_model_is_built():
    with pytest.raises(ValueError, match=r"ResNeXt has none .*mmtl.CutMix"):
        build("resnext", "mmtl.MixToken")


@pytest.mark.parametrize("out_type", ["cls_token", "avg_featmap"])
def test_a_backbone_that_does_not_return_its_tokens_is_refused_when_the_model_is_built(out_type):
    with pytest.raises(ValueError, match="out_type='raw'"):
        build("vit", out_type=out_type)


def test_raw_tokens_without_a_class_token_are_refused_when_the_model_is_built():
    with pytest.raises(ValueError, match="needs its class token"):
        build("vit", with_cls_token=False)


def test_images_of_incomplete_patches_are_refused():
    model, data = build("resnext"), batch_for("resnext")
    data["inputs"] = [image[:, :, :50] for image in data["inputs"]]
    with pytest.raises(ValueError, match=r"multiples of the token stride 32, got \(64, 50\)"):
        model.data_preprocessor(data, training=True)
