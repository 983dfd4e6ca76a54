import cv2
import numpy as np
import pytest
import timm
import torch
from helpers.score_map_makers import tiny_annotator, tiny_classifier
from mmpretrain.registry import MODELS
from torch import nn

from mmtl.annotators.annotator import Inference, averaged_logits
from mmtl.annotators.dense_mmpretrain import DenseImageClassifier, tokens_to_map
from mmtl.annotators.dense_timm import DenseTimmModel
from mmtl.annotators.load_timm import load_timm


def vit(out_type, with_cls_token=True, **extra):
    torch.manual_seed(0)
    arch = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
    config = dict(
        type="ImageClassifier",
        backbone=dict(type="VisionTransformer", arch=arch, img_size=32, patch_size=8, out_type=out_type,
                      with_cls_token=with_cls_token, **extra),
        head=dict(type="VisionTransformerClsHead", num_classes=3, in_channels=24),
    )  # fmt: skip
    classifier = MODELS.build(config).eval()
    nn.init.normal_(classifier.head.layers.head.weight)
    nn.init.normal_(classifier.backbone.pos_embed)
    return classifier


@torch.no_grad()
def test_with_global_pooling_and_a_linear_head_the_mean_of_the_cells_is_the_classifiers_output():
    classifier, images = tiny_classifier(), torch.randn(2, 3, 32, 48)
    own = classifier(images)
    dense = DenseImageClassifier(classifier)(images)
    assert dense.shape == (2, 8, 12, 3)
    torch.testing.assert_close(dense.mean(dim=(1, 2)), own)


@torch.no_grad()
def test_a_cell_of_a_cnn_is_the_head_applied_at_its_position():
    classifier, images = tiny_classifier(), torch.randn(1, 3, 32, 32)
    features = classifier.backbone(images)[-1]
    dense = DenseImageClassifier(classifier)(images)
    torch.testing.assert_close(dense[0, 2, 5], classifier.head.fc(features[0, :, 2, 5]))


@torch.no_grad()
def test_a_cell_of_a_vit_with_class_token_is_the_head_applied_to_its_patch_token():
    classifier, images = vit("cls_token"), torch.randn(1, 3, 32, 32)
    classifier.backbone.out_type = "raw"
    tokens = classifier.backbone(images)[-1]
    classifier.backbone.out_type = "cls_token"
    dense = DenseImageClassifier(classifier)(images)
    torch.testing.assert_close(dense[0, 1, 2], classifier.head.layers.head(tokens[0, 1 + 4 + 2]))


@torch.no_grad()
def test_a_cell_of_a_vit_with_mean_pooling_passes_the_norm_after_pooling():
    classifier, images = vit("avg_featmap", final_norm=False), torch.randn(1, 3, 32, 32)
    nn.init.normal_(classifier.backbone.ln2.bias)
    one_patch = vit("avg_featmap", final_norm=False)
    one_patch.load_state_dict(classifier.state_dict())
    dense = DenseImageClassifier(classifier)(images)
    classifier.backbone.out_type = "raw"
    token = classifier.backbone(images)[-1][:, 1 + 6]
    expected = one_patch.head((one_patch.backbone.ln2(token),))
    torch.testing.assert_close(dense[:, 1, 2], expected)


@torch.no_grad()
def test_swin_with_global_pooling_keeps_the_mean():
    torch.manual_seed(0)
    arch = dict(embed_dims=12, depths=[1, 1], num_heads=[1, 2])
    config = dict(
        type="ImageClassifier",
        backbone=dict(type="SwinTransformer", arch=arch, img_size=32, patch_size=2, window_size=4, out_indices=(1,)),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=3, in_channels=24),
    )
    classifier, images = MODELS.build(config).eval(), torch.randn(2, 3, 32, 32)
    own = classifier(images)
    dense = DenseImageClassifier(classifier)(images)
    assert dense.shape == (2, 8, 8, 3)
    torch.testing.assert_close(dense.mean(dim=(1, 2)), own)


@torch.no_grad()
def test_convnext_normalizes_each_cell_instead_of_the_mean():
    torch.manual_seed(0)
    arch = dict(depths=[1, 1, 1, 1], channels=[4, 8, 8, 16])
    config = dict(
        type="ImageClassifier",
        backbone=dict(type="ConvNeXt", arch=arch, drop_path_rate=0.0),
        head=dict(type="LinearClsHead", num_classes=3, in_channels=16),
    )
    classifier = MODELS.build(config).eval()
    image = torch.randn(1, 3, 32, 32)  # one cell: then the mean is the cell
    own = classifier(image)
    torch.testing.assert_close(DenseImageClassifier(classifier)(image)[:, 0, 0], own)


def test_a_backbone_that_pools_is_named_in_the_error():
    classifier = tiny_classifier()
    classifier.backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="Sequential cannot be converted to dense .*: its output .* is pooled"):
        DenseImageClassifier(classifier)(torch.zeros(1, 3, 32, 32))


def test_a_neck_that_mixes_positions_is_named_in_the_error():
    classifier = tiny_classifier()
    classifier.neck = nn.Flatten()
    with pytest.raises(ValueError, match="Flatten cannot be converted to dense"):
        DenseImageClassifier(classifier)


def test_a_model_without_backbone_and_head_is_an_error():
    with pytest.raises(ValueError, match="Linear cannot be converted to dense"):
        DenseImageClassifier(nn.Linear(2, 2))


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet10t", "swin_tiny_patch4_window7_224"])
def test_timm_models_with_global_pooling_keep_the_mean(name):
    torch.manual_seed(0)
    small = dict(embed_dim=12, depths=(1, 1), num_heads=(1, 2), img_size=56, window_size=7) if "swin" in name else {}
    model, images = timm.create_model(name, num_classes=5, **small).eval(), torch.randn(2, 3, 56, 56)
    torch.testing.assert_close(DenseTimmModel(model)(images).mean(dim=(1, 2)), model(images), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("pool", "registers"), [("token", 0), ("avg", 0), ("avg", 4)])
def test_timm_vits_classify_each_patch_token(pool, registers):
    torch.manual_seed(0)
    model = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=1, num_heads=2, num_classes=5, global_pool=pool,
        reg_tokens=registers,
    ).eval()  # fmt: skip
    images = torch.randn(2, 3, 32, 32)
    tokens = model.forward_features(images)
    expected = model.head(model.fc_norm(tokens[:, 1 + registers + 6]))
    torch.testing.assert_close(DenseTimmModel(model)(images)[:, 1, 2], expected)


def test_attention_pooling_is_named_in_the_error():
    model = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=1, num_heads=2, global_pool="map", class_token=False
    )
    with pytest.raises(ValueError, match="attn_pool"):
        DenseTimmModel(model)


def test_timm_annotators_use_their_own_preprocessing():
    annotator = load_timm("timm/resnet10t", "random", "cpu", Inference())
    data = timm.data.resolve_model_data_config(timm.create_model("resnet10t"), use_test_size=True)
    assert annotator.size_hw == data["input_size"][1:] and annotator.interpolation == data["interpolation"]
    bgr = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    rgb = torch.tensor([1.0, 128 / 255, 0.0])
    expected = (rgb - torch.tensor(data["mean"])) / torch.tensor(data["std"])
    torch.testing.assert_close(annotator.normalize(bgr).flatten(), expected)


def test_an_unknown_timm_model_is_an_error_that_lists_similar_names():
    with pytest.raises(ValueError, match="resnet"):
        load_timm("timm/resnet_51", "random", "cpu", Inference())


def test_tokens_make_a_map_with_the_images_aspect_ratio():
    tokens = torch.arange(8.0).view(1, 8, 1)
    assert tokens_to_map(tokens, (16, 32))[0, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(ValueError, match="7 tokens"):
        tokens_to_map(tokens[:, :7], (16, 32))


def cell_means(images):
    """Return the mean of cells of 4 x 4 pixels, as a dense classifier would its logits."""
    return nn.functional.avg_pool2d(images, 4).permute(0, 2, 3, 1)


def test_convention_blocks_of_tile_cells_cover_what_a_cell_of_the_full_image_covers():
    images = torch.rand(2, 3, 24, 48)
    expected = cell_means(nn.functional.avg_pool2d(images, 3))
    torch.testing.assert_close(averaged_logits(cell_means, images, 3, flip=True), expected)


def test_flip_averaging_makes_the_map_of_a_mirrored_image_the_mirrored_map():
    annotator = tiny_annotator(flip=True)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(annotator.logits(images.flip(-1)), annotator.logits(images).flip(2))


def test_mixed_precision_and_channels_last_reach_the_convolutions():
    annotator = tiny_annotator(amp=torch.bfloat16, channels_last=True)
    seen = []
    conv = next(module for module in annotator.dense.modules() if isinstance(module, nn.Conv2d))
    conv.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    logits = annotator.logits(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    assert seen[0][0].is_contiguous(memory_format=torch.channels_last)
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert seen[0][1].dtype == torch.bfloat16 and logits.dtype == torch.float32


def test_an_image_is_resized_to_height_and_width_times_the_crops(tmp_path):
    resize = tiny_annotator(crops=3).resize((8, 16))
    assert resize.size_hw == (24, 48)
    cv2.imwrite(str(tmp_path / "square.png"), np.zeros((10, 10, 3), np.uint8))
    assert resize(tmp_path / "square.png").shape == (24, 48, 3)


def test_by_default_an_image_is_annotated_once_in_full_precision():
    assert Inference().describe() == {"crops": 1, "flip": False, "amp": None}
