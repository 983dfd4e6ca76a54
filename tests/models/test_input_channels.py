"""Images of other than three channels: backbones, loading of RGB weights, and the data preprocessor."""

import numpy as np
import pytest
import timm
import torch
from helpers import golden
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn import functional as F

from mmtl.models import VOLO, LVViT, TokenLabelDataPreprocessor
from mmtl.models.input_weights import adapt_input_weight

ARCH = dict(embed_dims=12, num_layers=1, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=1)
VOLO_ARCH = dict(layers=(1, 1), embed_dims=(8, 12), num_heads=(2, 2), stem_hidden_dim=4)
BACKBONES = dict(
    stem=dict(type="mmtl.LVViT", arch=ARCH, img_size=16, patch_size=8),
    plain=dict(type="mmtl.LVViT", arch=dict(ARCH, stem_channels=None), img_size=16, patch_size=8),
    volo=dict(type="mmtl.VOLO", arch=VOLO_ARCH, img_size=16, patch_size=8),
)
FIRST = dict(stem="patch_embed.conv1.weight", plain="patch_embed.proj.weight", volo="patch_embed.conv.0.weight")


def classifier(name: str, channels: int, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=BACKBONES[name] | dict(in_channels=channels) | options,
            head=dict(type="mmtl.TokenLabelHead", num_classes=3, in_channels=12),
            data_preprocessor=dict(
                mean=[100.0 * c for c in range(channels)],
                std=[50.0] * channels,
                batch_augments=dict(augments=[dict(type="mmtl.MixToken")]),
            ),
        )
    )


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_step_trains_every_weight_at_any_number_of_channels(name, channels, dtype):
    np.random.seed(0)
    model = classifier(name, channels).train()
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, channels, 16, 16), generator=generator).to(dtype)
    samples = [DataSample().set_gt_label(index) for index in range(2)]
    prepared = model.data_preprocessor(dict(inputs=list(images), data_samples=samples), training=True)
    mean = 100.0 * torch.arange(channels)
    torch.testing.assert_close(prepared["inputs"], (images - mean.view(-1, 1, 1)) / 50)
    sum(value for name, value in model(**prepared, mode="loss").items() if "loss" in name).backward()
    assert model.backbone.get_parameter(FIRST[name]).grad.abs().sum((0, 2, 3)).gt(0).all()
    validated = model.data_preprocessor(dict(inputs=list(images)))["inputs"]
    torch.testing.assert_close(validated, prepared["inputs"])


@settings(max_examples=30, deadline=None)
@given(channels=st.integers(1, 16), seed=st.integers(0, 99))
def test_the_mean_keeps_the_response_to_gray_images(channels, seed):
    generator = torch.Generator().manual_seed(seed)
    weight, gray = torch.randn(5, 3, 3, 3, generator=generator), torch.randn(1, 1, 6, 6, generator=generator)
    adapted = adapt_input_weight(weight, channels, "mean")
    expected = F.conv2d(gray.expand(-1, 3, -1, -1), weight)
    torch.testing.assert_close(F.conv2d(gray.expand(-1, channels, -1, -1), adapted), expected)


@settings(max_examples=30, deadline=None)
@given(channels=st.integers(1, 16), seed=st.integers(0, 99))
def test_the_first_channels_keep_their_response_and_others_have_none(channels, seed):
    generator = torch.Generator().manual_seed(seed)
    weight, images = torch.randn(5, 3, 3, 3, generator=generator), torch.randn(1, channels, 6, 6, generator=generator)
    kept = min(channels, 3)
    expected = F.conv2d(images[:, :kept], weight[:, :kept])
    torch.testing.assert_close(F.conv2d(images, adapt_input_weight(weight, channels, "first")), expected)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("rule", ["mean", "first"])
@pytest.mark.parametrize("channels", [1, 3, 13])
def test_rgb_weights_are_loaded_by_the_stated_rule_and_others_as_they_are(name, rule, channels):
    rgb, model = classifier(name, 3), classifier(name, channels, input_weights=rule)
    weights = rgb.state_dict()
    first = weights[f"backbone.{FIRST[name]}"].clone()
    assert not any(model.load_state_dict(weights))
    expected = first if channels == 3 else adapt_input_weight(first, channels, rule)
    loaded = model.backbone.state_dict()
    assert loaded[FIRST[name]].equal(expected)
    assert all(loaded[key].equal(value) for key, value in rgb.backbone.state_dict().items() if key != FIRST[name])
    assert rgb.backbone.get_parameter(FIRST[name]).equal(first), "the checkpoint's model was changed"


def test_released_weights_are_loaded_into_other_channels():
    released = golden.released_state_dict("lvvit_nano_64")
    arch = dict(ARCH, embed_dims=48, num_layers=3, num_heads=4, feedforward_channels=144, stem_channels=64)
    lvvit = LVViT(arch, img_size=64, in_channels=4, input_weights="first")
    head = dict(type="mmtl.TokenLabelHead", num_classes=11, in_channels=48)
    MODELS.build(dict(type="mmtl.TokenLabelClassifier", backbone=lvvit, head=head)).load_state_dict(dict(released))
    expected = adapt_input_weight(released["patch_embed.conv1.weight"], 4, "first")
    assert lvvit.patch_embed.conv1.weight.equal(expected)
    reference = timm.models.volo.VOLO(**VOLO_ARCH, img_size=16, patch_size=4, num_classes=3)
    volo = classifier("volo", 13)
    volo.load_state_dict(reference.state_dict())
    expected = adapt_input_weight(reference.patch_embed.conv[0].weight, 13, "mean")
    assert volo.backbone.patch_embed.conv[0].weight.equal(expected)


def test_a_checkpoint_of_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"does not fit this LVViT: patch_embed.conv1.weight \(4, 4, 7, 7\)"):
        classifier("stem", 13).load_state_dict(classifier("stem", 4).state_dict())


@pytest.mark.parametrize("kind", [LVViT, VOLO])
@pytest.mark.parametrize(
    "options, message",
    [
        (dict(in_channels=0), "in_channels must be an integer"),
        (dict(input_weights="last"), "'mean', 'first', got 'last'"),
    ],
)
def test_options_are_checked(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_mean_and_channels_of_a_model_must_agree():
    with pytest.raises(ValueError, match="one value for each of the 4 input channels of LVViT, got 3"):
        MODELS.build(
            dict(
                type="mmtl.TokenLabelClassifier",
                backbone=BACKBONES["stem"] | dict(in_channels=4),
                head=dict(type="mmtl.TokenLabelHead", num_classes=3, in_channels=12),
                data_preprocessor=dict(mean=[1.0] * 3, std=[1.0] * 3),
            )
        )


@pytest.mark.parametrize("mean, std", [(2, 3), (3, 2), (4, 3), (0, 3)])
def test_mean_and_std_of_different_lengths_are_refused_by_name(mean, std):
    """Guards: NumPy's error about shapes that cannot be broadcast."""
    with pytest.raises(ValueError, match=f"data_preprocessor.mean and std .*got {mean} of mean and {std} of std"):
        TokenLabelDataPreprocessor(num_classes=3, mean=[1.0] * mean, std=[1.0] * std)


@pytest.mark.parametrize(
    "channels, options",
    [(4, dict(mean=[1.0] * 3, std=[1.0] * 3)), (4, dict(mean=[1.0] * 4, std=[1.0] * 4, to_rgb=True))],
)
def test_images_that_do_not_fit_mean_and_channel_order_are_refused(channels, options):
    preprocessor = TokenLabelDataPreprocessor(num_classes=3, **options)
    data = dict(inputs=[torch.zeros(channels, 8, 8)], data_samples=[DataSample().set_gt_label(0)])
    with pytest.raises(ValueError, match="must fit images of 4 channels"):
        preprocessor(data, training=True)
