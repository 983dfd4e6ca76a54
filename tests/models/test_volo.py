"""VOLO equals timm's with the same weights, mixes tokens as released, and trains."""

import copy

import numpy as np
import pytest
import timm
import torch
from helpers.score_map_batches import random_maps
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mmtl.models import VOLO
from mmtl.models.batch_augments.mix_token import TokenMix, box_mask, mix_tokens
from mmtl.models.lvvit import convert_released, convert_to_released
from mmtl.models.other_backbones import mixed_after_patch_embedding

ARCH = dict(layers=(2, 1, 2, 1), embed_dims=(8, 12, 12, 12), num_heads=(2, 3, 3, 3), stem_hidden_dim=4)
SIZE_HW, CLASSES = (32, 48), 5  # 4 x 6 tokens


def classifier(**options: object) -> nn.Module:
    torch.manual_seed(0)
    backbone = dict(type="mmtl.VOLO", arch=ARCH, img_size=SIZE_HW, patch_size=8) | options
    head = dict(type="mmtl.TokenLabelHead", num_classes=CLASSES)
    augments = dict(augments=[dict(type="mmtl.MixToken")])
    preprocessor = dict(mean=[120.0] * 3, std=[60.0] * 3, batch_augments=augments)
    return MODELS.build(
        dict(type="mmtl.TokenLabelClassifier", backbone=backbone, head=head, data_preprocessor=preprocessor)
    )


def timm_volo(**options: object) -> nn.Module:
    torch.manual_seed(1)
    net = timm.models.volo.VOLO(**ARCH, img_size=SIZE_HW, patch_size=4, num_classes=CLASSES, **options)
    nn.init.normal_(net.head.bias)
    nn.init.normal_(net.aux_head.bias)
    return net


@pytest.fixture
def pair() -> tuple[nn.Module, nn.Module]:
    """Our classifier and timm's VOLO with the same weights."""
    model, reference = classifier(), timm_volo(use_mix_token=True)
    model.load_state_dict(convert_released(reference.state_dict()))
    return model, reference


def images(batch: int = 3, size_hw: tuple[int, int] = SIZE_HW) -> torch.Tensor:
    return torch.randn(batch, 3, *size_hw, generator=torch.Generator().manual_seed(2))


def test_inference_equals_timm_in_class_and_patch_logits(pair):
    model, reference = (net.eval() for net in pair)
    with torch.no_grad():
        features = reference.forward_features(images())
        class_token, patch_tokens = model.head.pre_logits(model.backbone(images()))
        torch.testing.assert_close(model.head.fc(class_token), reference.head(features[:, 0]), rtol=0, atol=1e-5)
        expected = reference.aux_head(features[:, 1:])
        torch.testing.assert_close(model.head.token_fc(patch_tokens), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(images()), reference(images()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("box_rcrc", [(0, 0, 0, 0), (1, 2, 3, 6), (0, 0, 4, 6)])
def test_a_training_pass_with_a_fixed_box_equals_timm(pair, monkeypatch, box_rcrc):
    model, reference = (net.train() for net in pair)
    monkeypatch.setattr(timm.models.volo, "rand_bbox", lambda *args, **kwargs: box_rcrc)
    class_features, patch_logits, _ = reference.forward_train(images())
    mix = TokenMix(box_mask((4, 6), box_rcrc), torch.tensor([2, 1, 0]))
    with mixed_after_patch_embedding(model.backbone, mix):
        class_token, patch_tokens = model.head.pre_logits(model.backbone(images()))
    # timm leaves its head to the caller here, and returns the patch logits mixed back.
    torch.testing.assert_close(model.head.fc(class_token), reference.head(class_features), rtol=0, atol=1e-5)
    ours = mix_tokens(model.head.token_fc(patch_tokens), *mix)
    torch.testing.assert_close(ours, patch_logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        model.backbone.patch_embed.conv[1].running_mean, reference.patch_embed.conv[1].running_mean
    )


@pytest.mark.parametrize("arch, millions", [("d1", 26.6), ("d2", 58.7), ("d3", 86.3), ("d4", 193), ("d5", 296)])
def test_parameter_counts_are_the_published_ones(arch, millions):
    """As in the paper; of D5 timm and the released code have 295.5 million."""
    with torch.device("meta"):
        backbone = VOLO(arch)
    heads = 2 * (backbone.embed_dims + 1) * 1000
    count = sum(p.numel() for p in backbone.parameters()) + heads
    assert count == sum(p.numel() for p in timm_on_meta(arch).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.6 if arch == "d5" else 0.05)


def timm_on_meta(arch: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(f"volo_{arch}_224")


def test_converting_there_and_back_is_the_identity_also_with_a_patch_head_of_zeros(pair):
    released = pair[1].state_dict()
    released["aux_head.weight"].zero_()
    released["aux_head.bias"].zero_()
    back = convert_to_released(convert_released(dict(state_dict={f"module.{k}": v for k, v in released.items()})))
    assert back.keys() == released.keys() and all(torch.equal(back[name], released[name]) for name in back)


@pytest.mark.parametrize(
    "lost", ["network.2.0.attn.qkv.weight", "network.0.0.norm1.bias", "aux_head.bias", "cls_token"]
)
def test_a_released_file_with_a_missing_weight_is_refused_by_name(pair, lost):
    released = pair[1].state_dict()
    del released[lost]
    if lost.startswith("network.2"):  # the only block of its group: found when the model is loaded
        with pytest.raises(ValueError, match=f"lacks {lost}"):
            pair[0].load_state_dict(convert_released(released))
    else:
        with pytest.raises(ValueError, match=f"missing keys: {lost}"):
            convert_released(released)


def test_released_names_load_into_a_classifier_and_a_backbone(pair, tmp_path):
    model, reference = pair
    model.load_state_dict(reference.state_dict())
    assert torch.equal(model.head.token_fc.weight, reference.aux_head.weight)
    torch.save(dict(state_dict=reference.state_dict()), tmp_path / "volo.pth")
    loaded = classifier(pretrained=str(tmp_path / "volo.pth"))
    loaded.init_weights()
    assert torch.equal(loaded.backbone.network[3][1].mlp.fc1.weight, reference.network[3][1].mlp.fc1.weight)


def test_position_embedding_follows_the_image_size(pair):
    model, _ = pair
    larger = classifier(img_size=(48, 64))
    larger.load_state_dict(model.state_dict())
    assert larger.backbone.pos_embed.shape == (1, 6, 8, 12)
    model.eval(), larger.eval()
    torch.testing.assert_close(model(images(2, (48, 64))), larger(images(2, (48, 64))))


def batch() -> dict:
    """Four images of two kinds with score maps of their class."""
    generator = torch.Generator().manual_seed(3)
    labels = [0, 1, 0, 1]
    inputs = [torch.randint(100 * label, 100 * label + 60, (3, *SIZE_HW), generator=generator) for label in labels]
    scores, classes, _ = random_maps(2, 4, (4, 4), 2, CLASSES)
    samples = []
    for index, label in enumerate(labels):
        sample = DataSample().set_gt_label(label)
        sample.set_field(scores[index].half(), "score_map_scores")
        sample.set_field(classes[index].int() * 0 + torch.tensor([label, 4]).int(), "score_map_classes")
        sample.set_field(torch.eye(3)[:2], "view_affine")
        samples.append(sample)
    return dict(inputs=[image.byte() for image in inputs], data_samples=samples)


def test_ten_steps_with_score_maps_and_mixtoken_lower_the_loss_and_move_every_weight():
    np.random.seed(0)
    model = classifier(drop_path_rate=0.1).train()
    assert model.data_preprocessor.token_stride == 8
    start, losses = copy.deepcopy(model.state_dict()), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(10):
        prepared = model.data_preprocessor(batch(), training=True)
        assert prepared["token_mix"].mask.shape == (24,)
        loss, _ = model.parse_losses(model(**prepared, mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < losses[0]
    assert not [name for name, weight in model.state_dict().items() if weight.equal(start[name])]


def test_a_feature_map_of_each_group_has_the_stride_of_its_stage():
    backbone = VOLO(ARCH, patch_size=8, img_size=32, out_type="featmap", out_indices=(0, 1, 2, 3), final_norm=False)
    maps = backbone(images(2, (32, 48)))
    assert [tuple(feature.shape) for feature in maps] == [(2, 8, 8, 12)] + 3 * [(2, 12, 4, 6)]
    assert backbone.cls_token is None and backbone.post_network is None and backbone.norm is None
    reference = timm_volo().eval()
    backbone = VOLO(ARCH, patch_size=8, img_size=SIZE_HW, out_type="featmap", out_indices=(0, 3)).eval()
    backbone.load_state_dict(reference.state_dict(), strict=False)
    expected = reference.forward_intermediates(images(), indices=[0, 3], norm=True, intermediates_only=True)
    for found, wanted in zip(backbone(images()), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("last", range(4))
def test_every_trained_weight_of_a_backbone_with_fewer_outputs_gets_a_gradient(last):
    backbone = VOLO(ARCH, patch_size=8, img_size=32, out_type="featmap", out_indices=last).train()
    backbone(images(2, (32, 32)))[0].sum().backward()
    assert all((weight.grad is not None) == weight.requires_grad for weight in backbone.parameters())


def test_recomputed_blocks_give_the_same_gradients():
    grads = []
    for with_cp in (False, True):
        model = classifier(with_cp=with_cp).train()
        model.backbone(images())[-1].square().sum().backward()
        grads.append([weight.grad for weight in model.backbone.parameters()])
    torch.testing.assert_close(*grads)


def test_depths_for_layer_decay_follow_the_blocks():
    backbone = classifier().backbone
    depths = {
        name: backbone.get_layer_depth(f"backbone.{name}", "backbone.") for name, _ in backbone.named_parameters()
    }
    assert {total for _, total in depths.values()} == {2 + 6}
    expected = {"patch_embed.proj.bias": 0, "network.0.1.norm1.bias": 2, "network.1.proj.bias": 3, "pos_embed": 3}
    expected |= {"network.2.0.norm1.bias": 3, "network.3.1.norm1.bias": 5, "network.4.0.norm1.bias": 6}
    expected |= {"post_network.0.norm1.bias": 7, "cls_token": 7, "norm.bias": 7}
    assert {name: depths[name][0] for name in expected} == expected
    assert backbone.get_layer_depth("head.fc.weight", "backbone.") == (7, 8)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(arch="d6"), "arch of VOLO must be one of 'd1', .* got 'd6'"),
        (dict(arch=ARCH | dict(depth=3)), r"only the keys .* got \['depth'\]"),
        (dict(patch_size=12), "patch_size of VOLO must be 8, 16 or 32, got 12"),
        (dict(img_size=(32, 60)), r"multiples of the patch size 8, got \(32, 60\)"),
        (dict(out_type="map"), "out_type must be .* got 'map'"),
        (dict(out_indices=(0, 3)), "are for out_type='featmap'"),
        (dict(out_type="featmap", out_indices=(0, 4)), "groups 0 to 3"),
        (dict(out_type="featmap", out_indices=(3, -1)), "each once"),
    ],
)
def test_options_that_build_another_model_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        classifier(**options)


def test_an_image_of_incomplete_patches_is_refused():
    with pytest.raises(ValueError, match=r"got \(30, 48\)"):
        classifier()(images(1, (30, 48)))


@pytest.mark.parametrize(
    "arch, message",
    [
        (dict(ARCH, layers=(2, 1, 1, 1)), "has network.3.1.*which this VOLO lacks"),
        (dict(ARCH, layers=(2, 1, 3, 1)), "lacks network.3.2.*which this VOLO has"),
        (dict(ARCH, embed_dims=(8, 24, 24, 24)), "does not fit this VOLO"),
    ],
)
def test_a_checkpoint_of_another_arch_is_refused_also_when_not_strict(pair, arch, message):
    with pytest.raises(ValueError, match=message):
        VOLO(arch, patch_size=8, img_size=SIZE_HW).load_state_dict(pair[1].state_dict(), strict=False)
