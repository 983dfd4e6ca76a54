"""Any timm model is a student: its tokens, their grid and its patch embedding are found from the model."""

import copy
import logging

import numpy as np
import pytest
import torch
from helpers.score_map_batches import random_maps
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mmtl.models import LVViT, TimmBackbone, TokenLabelHead, classifier, timm_create, timm_weights
from mmtl.models.batch_augments import CutMix, MixToken, TokenMix, mix_tokens
from mmtl.models.other_backbones import mix_patches, mixed_after_patch_embedding

timm = pytest.importorskip("timm")
NUM_CLASSES, SIDE = 5, 64
VIT = dict(depth=2, embed_dim=24, num_heads=2)
SWIN = dict(depths=(1, 1, 1), embed_dim=16, num_heads=(1, 2, 2), window_size=2, drop_path_rate=0.0)
# Options of the backbone, its stride, and whether it has a patch embedding.
STUDENTS = dict(
    vit=(dict(VIT, model_name="vit_tiny_patch16_224"), 16, True),
    mean_pooling=(dict(VIT, model_name="beit_base_patch16_224"), 16, True),
    registers=(dict(VIT, model_name="vit_small_patch14_reg4_dinov2", patch_size=16), 16, True),
    distilled=(dict(VIT, model_name="deit_tiny_distilled_patch16_224"), 16, True),
    attention_pooling=(dict(VIT, model_name="vit_base_patch16_siglip_224"), 16, True),
    swin=(dict(SWIN, model_name="swin_tiny_patch4_window7_224"), 16, True),
    convnext=(dict(model_name="convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)), 32, True),
    resnet=(dict(model_name="resnet10t", channels=(8, 8, 8, 8)), 32, False),
)
MIXED = [name for name, (_, _, mixes) in STUDENTS.items() if mixes]


def backbone_of(name, **options):
    torch.manual_seed(0)
    return TimmBackbone(**{**dict(img_size=SIDE), **STUDENTS[name][0], **options})


def build(name, fallback=dict(type="mmtl.CutMix"), **head):  # noqa: B006
    torch.manual_seed(0)
    augment = dict(type="mmtl.MixToken", fallback=fallback)
    return MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=dict(type="mmtl.TimmBackbone", img_size=SIDE, **STUDENTS[name][0]),
            head=dict(type="mmtl.TokenLabelHead", num_classes=NUM_CLASSES, **head),
            data_preprocessor=dict(batch_augments=dict(augments=[augment]), mean=[127.0] * 3, std=[60.0] * 3),
        )
    )


def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    scores, classes, _ = random_maps(2, 2, (4, 4), 2, NUM_CLASSES)
    samples = []
    for b in range(2):
        sample = DataSample().set_gt_label(b)
        sample.set_field(scores[b].half(), "score_map_scores")
        sample.set_field(classes[b].int(), "score_map_classes")
        sample.set_field(torch.eye(3)[:2], "view_affine")
        samples.append(sample)
    return dict(inputs=list(images), data_samples=samples)


def some_mix(count):
    mask = torch.ones(count, dtype=torch.bool)
    mask[1 : count // 2 + 1] = False
    return TokenMix(mask, torch.tensor([1, 0]))


@pytest.mark.parametrize("name", STUDENTS)
def test_a_training_step_reaches_every_trained_parameter(name, monkeypatch):
    logged = []
    monkeypatch.setattr(classifier, "print_log", lambda message, **options: logged.append(message))
    model = build(name).train()
    _, stride, mixes = STUDENTS[name]
    assert model.data_preprocessor.token_stride == stride
    assert model.head.fc.in_features == model.backbone.feature_channels[-1]
    (augment,) = model.data_preprocessor.token_augments.augments
    assert isinstance(augment, MixToken if mixes else CutMix)
    assert [message for message in logged if "stride 2). CutMix replaces it" in message] == ([] if mixes else logged)
    np.random.seed(0)
    prepared = model.data_preprocessor(batch(), training=True)
    assert ("token_mix" in prepared) == mixes
    loss, _ = model.parse_losses(model(**prepared, mode="loss"))
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert sum(not p.requires_grad for p in model.parameters()) == 0
    assert len(model.eval()(model.data_preprocessor(batch())["inputs"])) == 2


@pytest.mark.parametrize("name", STUDENTS)
def test_the_class_feature_is_what_timm_classifies(name):
    backbone = backbone_of(name).eval()
    options = {key: value for key, value in STUDENTS[name][0].items()}
    sized = {} if name in ("convnext", "resnet") else dict(img_size=SIDE)
    model = timm.create_model(options.pop("model_name"), num_classes=NUM_CLASSES, **options, **sized).eval()
    missing, _ = model.load_state_dict(backbone.timm_model.state_dict(), strict=False)
    assert all("head" in name or "fc." in name for name in missing)
    images = torch.randn(2, 3, SIDE, SIDE)
    tokens = backbone(images)[-1]
    assert tokens.shape[1] == 1 + (SIDE // backbone.token_stride) ** 2
    pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    torch.testing.assert_close(tokens[:, 0], pooled)


@pytest.mark.parametrize("name", ["vit", "registers", "swin", "convnext"])
def test_a_token_responds_most_to_its_own_patch(name):
    backbone = backbone_of(name).eval()
    stride = backbone.token_stride
    grid, generator = SIDE // stride, torch.Generator().manual_seed(3)
    image = torch.randn(1, 3, SIDE, SIDE, generator=generator)
    images = image.repeat(grid * grid, 1, 1, 1)
    for n in range(grid * grid):
        y, x = n // grid * stride, n % grid * stride
        images[n, :, y : y + stride, x : x + stride] = torch.randn(3, stride, stride, generator=generator)
    with torch.no_grad():
        response = (backbone(images)[-1] - backbone(image)[-1])[:, 1:].norm(dim=-1)
    assert response.argmax(0).tolist() == list(range(grid * grid))


def test_mixing_inside_timm_vit_equals_mixing_by_hand():
    backbone = backbone_of("vit").eval()
    model, images, token_mix = backbone.timm_model, torch.randn(2, 3, SIDE, SIDE), some_mix(16)
    with mixed_after_patch_embedding(backbone, token_mix):
        found = backbone(images)[-1]
    patches = model.patch_embed(images).flatten(1, 2)  # [B, N, C]
    mixed = torch.stack([torch.where(token_mix.mask[:, None], patches[b], patches[1 - b]) for b in range(2)])
    tokens = torch.cat((model.cls_token.expand(2, -1, -1), mixed), dim=1) + model.pos_embed
    torch.testing.assert_close(found, model.norm(model.blocks(tokens)), rtol=0, atol=1e-6)


def test_lvvit_mixes_as_in_timm_order_after_the_position_embedding():
    arch = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48, stem_channels=8, residual_divisor=2)
    backbone = LVViT(arch, img_size=SIDE).eval()
    images, token_mix = torch.randn(2, 3, SIDE, SIDE), some_mix(16)
    tokens, _ = backbone.embed(images)
    for layer in (lambda x: torch.cat((x[:, :1], mix_tokens(x[:, 1:], *token_mix)), dim=1), *backbone.blocks):
        tokens = layer(tokens)
    torch.testing.assert_close(backbone(images, token_mix)[-1], backbone.norm(tokens), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", MIXED)
def test_features_of_tokens_that_are_all_the_partners_are_the_partners(name):
    """Nothing after the patch embedding has seen the image itself."""
    backbone = backbone_of(name).eval()
    images, count = torch.randn(2, 3, SIDE, SIDE), (SIDE // backbone.token_stride) ** 2
    nothing = TokenMix(torch.zeros(count, dtype=torch.bool), torch.tensor([1, 0]))
    with mixed_after_patch_embedding(backbone, nothing):
        mixed = backbone(images)[-1]
    torch.testing.assert_close(mixed, backbone(images)[-1].flip(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x,  # [B, h, w, C], h = 4, w = 6
        lambda x: x.permute(0, 3, 1, 2),
        lambda x: x.flatten(1, 2),
        lambda x: torch.cat((x[:, 0, :2], x.flatten(1, 2)), dim=1),  # two other tokens, which stay
        lambda x: x.reshape(-1, 3, 2),  # three pixels in each patch
    ],
)
def test_each_layout_of_patches_is_mixed_alike(layout):
    patches = torch.arange(2 * 4 * 6 * 6.0).view(2, 4, 6, 6)
    token_mix = TokenMix(torch.tensor([True, False, True, True, False, True]), torch.tensor([1, 0]))  # 2 x 3
    fine = token_mix.mask.view(2, 3).repeat_interleave(2, 0).repeat_interleave(2, 1)
    by_hand = torch.where(fine[..., None], patches, patches.flip(0))
    found, expected = mix_patches(layout(patches), (32, 48), token_mix), layout(by_hand)
    if found.shape[1] == 26:
        expected[:, :2] = patches[:, 0, :2]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_the_compiled_losses_are_those_of_plain_python(name):
    torch._dynamo.reset()
    model = build(name).train()
    prepared = model.data_preprocessor(batch(), training=True)
    expected = model(**prepared, mode="loss")
    model.compile_training(backend="eager")
    torch.testing.assert_close(model(**prepared, mode="loss"), expected)


def test_a_model_without_patch_embedding_is_refused_without_a_fallback():
    with pytest.raises(ValueError, match=r"resnet10t has none \(its first module conv1.* stride 2\).*mmtl.CutMix"):
        build("resnet", fallback=None)


def test_a_head_on_its_own_needs_its_channels():
    with pytest.raises(ValueError, match="in_channels of TokenLabelHead must be the channels"):
        TokenLabelHead(num_classes=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(model_name="vit_tyny_patch16_224"), "'vit_tyny_patch16_224'. Closest: vit_tiny_patch16_224"),
        (dict(model_name="qqqq"), r"got 'qqqq'. timm.list_models\(\) lists them"),
        (dict(model_name="vit_tiny_patch16_224.augreg_in1k"), "Closest: vit_tiny_patch16_224.augreg_in21k"),
        (dict(model_name="volo_d1_224", layers=(1, 1, 1, 1)), "layers is not an option of timm's volo_d1_224"),
        (dict(model_name="crossvit_9_240", img_size=240), "must be a grid of square patches, but it has .* channels"),
        (dict(model_name="resnet10t", img_size=80), r"9 tokens do not divide images of \(80, 80\) pixels"),
        (dict(model_name="efficientformer_l1"), r"does not take images of \(64, 64\).*own \(224, 224\)"),
        (dict(model_name="resnet10t", depth=3), "depth is not an option of timm's resnet10t"),
        (dict(model_name="resnet10t", num_classes=3), "num_classes is set in the head"),
        (dict(model_name="resnet10t", out_type="cls_token"), "out_type must be 'raw' or 'featmap'"),
        (dict(model_name="resnet10t", out_type="featmap", out_indices=5), "from 0 to 4, got 5"),
    ],
)
def test_a_model_that_cannot_be_a_student_is_refused_in_one_message(options, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**{**dict(img_size=SIDE), **options})


@pytest.mark.parametrize("error", [RuntimeError("No pretrained weights exist."), FileNotFoundError("No connection.")])
def test_weights_that_timm_cannot_load_are_named_with_the_remedy(error, monkeypatch):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(OSError, match=f"of resnet10t cannot be loaded: {error} .*checkpoint=FILE"):
        TimmBackbone("resnet10t", pretrained=True)
    with pytest.raises(type(error), match=f"^{error}$"):
        TimmBackbone("resnet10t")


def test_means_of_another_channel_count_are_refused():
    backbone = dict(type="mmtl.TimmBackbone", img_size=SIDE, in_channels=13, **STUDENTS["vit"][0])
    head, means = dict(type="mmtl.TokenLabelHead", num_classes=NUM_CLASSES), dict(mean=[1.0] * 3, std=[1.0] * 3)
    with pytest.raises(ValueError, match="each of the 13 input channels of TimmBackbone, got 3"):
        MODELS.build(dict(type="mmtl.TokenLabelClassifier", backbone=backbone, head=head, data_preprocessor=means))


def test_drop_path_is_omitted_with_a_warning_where_a_model_has_none(monkeypatch):
    logged = []
    monkeypatch.setattr(timm_create, "print_log", lambda message, **options: logged.append((message, options)))
    TimmBackbone("ghostnet_050", img_size=SIDE, drop_path_rate=0.1)
    assert [(message.split(":")[0], options["level"]) for message, options in logged] == [
        ("ghostnet_050 has no drop path", logging.WARNING)
    ]
    vit = backbone_of("vit", drop_path_rate=0.1)
    assert vit.timm_model.blocks[-1].drop_path1.drop_prob == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_maps_at_another_size_come_from_the_classifiers_checkpoint(name, tmp_path):
    student = build(name)
    torch.save(dict(state_dict=student.state_dict()), tmp_path / "student.pth")
    maps = backbone_of(name, out_type="featmap", img_size=128, checkpoint=str(tmp_path / "student.pth"))
    maps.init_weights()
    trained = dict(student.backbone.named_parameters())
    for key, weight in maps.named_parameters():
        if key != "timm_model.pos_embed":
            assert torch.equal(weight, trained[key]), key
    if name == "vit":
        assert maps.timm_model.pos_embed.shape == (1, 65, 24)
        assert not torch.equal(maps.timm_model.pos_embed[:, 0], torch.zeros(1, 24))
    outputs = maps(torch.randn(1, 3, 128, 96))
    found = [(output.shape[1], 128 // output.shape[2], 96 // output.shape[3]) for output in outputs]
    strides = zip(maps.feature_channels, maps.feature_strides, strict=True)
    assert found == [(channels, stride, stride) for channels, stride in strides]
    assert all(weight.requires_grad for weight in maps.parameters())


def test_parameters_behind_the_last_map_are_frozen():
    maps = backbone_of("vit", out_type="featmap", out_indices=[0])
    names = [name for name, weight in maps.named_parameters() if not weight.requires_grad]
    assert names and all(".blocks.1." in name for name in names)


def test_timms_own_weights_load_without_their_classifier(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(timm_weights, "print_log", lambda message, **options: logged.append(message))
    model = timm.create_model("vit_tiny_patch16_224", num_classes=7, img_size=SIDE, **VIT)
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    backbone = backbone_of("vit", pretrained=str(tmp_path / "timm.pth"))
    backbone.init_weights()
    assert torch.equal(backbone.timm_model.blocks[1].attn.qkv.weight, model.blocks[1].attn.qkv.weight)
    assert "not used: head.weight (7, 24); not used: head.bias (7,)" in logged[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(embed_dim=48), r"The checkpoint does not fit vit_tiny_patch16_224: .*expected \(1, 1, 24\)"),
        (dict(in_channels=1), r"patch_embed.proj.weight \(24, 1, 16, 16\), expected \(24, 3, 16, 16\)"),
        (dict(depth=1), "lacks blocks.1.norm1.weight"),
    ],
)
def test_weights_of_another_size_are_refused_in_one_message(change, message, tmp_path):
    other = backbone_of("vit", **change)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        load_checkpoint(backbone_of("vit"), str(tmp_path / "other.pth"))


def test_another_class_count_is_refused_in_one_message():
    state = build("vit").state_dict()
    for name in [name for name in state if name.startswith("head.")]:
        state[name] = state[name][:3]
    with pytest.raises(ValueError, match=r"head.fc.weight \(3, 24\), expected \(5, 24\)"):
        build("vit").load_state_dict(state)


def test_depths_grow_from_the_embedding_to_the_head():
    backbone = backbone_of("vit")
    names = ("patch_embed.proj.weight", "blocks.0.norm1.weight", "blocks.1.norm1.weight", "norm.weight")
    depths = [backbone.get_layer_depth(f"backbone.timm_model.{name}", "backbone.")[0] for name in names]
    assert depths == [0, 1, 2, 2]  # timm counts the last norm with the last block
    assert backbone.get_layer_depth("head.fc.weight", "backbone.") == (3, 4)


def test_a_copy_is_another_model():
    model = build("vit")
    copied = copy.deepcopy(model)
    assert copied.backbone.patch_embed is copied.backbone.timm_model.patch_embed is not model.backbone.patch_embed
    assert model.state_dict().keys() == {f"backbone.{name}" for name in model.backbone.state_dict()} | {
        f"head.{name}" for name in model.head.state_dict()
    }
