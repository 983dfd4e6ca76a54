import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_classifier import Images, classifier

from mmtl.visualization.token_labels import class_attention, draw_predictions, last_attention, predict_tokens


def test_attention_is_the_one_that_the_layer_mixes_values_with():
    attention = classifier().backbone.blocks[-1].attn
    tokens = torch.randn(2, 25, 12)
    value = attention.qkv(tokens).chunk(3, -1)[2].unflatten(-1, (2, -1)).transpose(1, 2)
    # With values that are one for one token and zero elsewhere, the layer's own attention gives its share.
    query, key = (x.unflatten(-1, (2, -1)).transpose(1, 2) for x in attention.qkv(tokens).chunk(3, -1)[:2])
    shares = F.scaled_dot_product_attention(query, key, torch.eye(25).expand(*value.shape[:2], 25, 25))[:, :, 0]
    torch.testing.assert_close(class_attention(attention, tokens), shares.mean(1)[:, 1:])


def test_prediction_is_that_of_the_model_and_attention_that_of_its_last_block():
    model, images = classifier(), Images()
    predictions = predict_tokens(model, images, images.metainfo["classes"])
    inputs = model.data_preprocessor(dict(inputs=[s["inputs"] for s in images]))["inputs"]
    predicted = model(inputs).argmax(-1)
    assert [s.title.splitlines()[1] for s in predictions] == [f"predicted kind {p}" for p in predicted.tolist()]
    np.testing.assert_array_equal(predictions[2].image, images[2]["inputs"].permute(1, 2, 0).flip(-1))  # RGB
    patches = model.head.pre_logits(model.extract_feat(inputs))[1]
    probability, top_class = model.head.token_fc(patches).softmax(-1).unflatten(1, (4, 6)).max(-1)
    for index, prediction in enumerate(predictions):
        np.testing.assert_array_equal(prediction.top_class, top_class[index])
        np.testing.assert_allclose(prediction.probability, probability[index].detach(), rtol=1e-5)
    block = model.backbone.blocks[-1]
    tokens, _ = model.backbone.embed(inputs)
    attention_input = block.norm1(model.backbone.blocks[0](tokens))
    expected = class_attention(block.attn, attention_input)[3].unflatten(0, (4, 6)).detach()
    np.testing.assert_allclose(predictions[3].attention, expected, rtol=1e-5)
    assert not block.attn._forward_pre_hooks  # nothing is left behind


def test_a_backbone_without_attention_is_drawn_without_it():
    backbone = dict(type="mmpretrain.ResNet", depth=18, base_channels=12, stem_channels=4, out_indices=(0,))
    model = classifier(backbone=backbone)
    assert last_attention(model.backbone) is None
    assert predict_tokens(model, Images(), None)[0].attention is None


@pytest.mark.parametrize(
    "options",
    [
        dict(model_name="swin_tiny_patch4_window7_224", embed_dim=12, depths=(2,), num_heads=(2,), window_size=2),
        dict(model_name="vit_base_patch16_rpn_224", embed_dim=12, depth=1, num_heads=2, patch_size=4),
    ],
    ids=["windows", "mean of the patch tokens"],
)
def test_attention_of_layers_without_a_class_token_is_not_drawn(options):
    model = classifier(backbone=dict(type="mmtl.TimmBackbone", img_size=(16, 24), **options))
    assert last_attention(model.backbone) is not None
    (prediction,) = predict_tokens(model, Images()[:1], None)
    assert prediction.attention is None and prediction.top_class.shape == (4, 6)


def test_images_of_several_sizes_and_without_label_are_drawn_together():
    images = Images()
    for index, hw in enumerate([(8, 24), (24, 16)]):
        images[index] = dict(images[index], inputs=images[index]["inputs"].new_zeros(3, *hw))
    del images[1]["data_samples"].gt_label
    predictions = predict_tokens(classifier(), images, images.metainfo["classes"])
    assert [p.image.shape[:2] for p in predictions] == [(8, 24), (24, 16), (16, 24), (16, 24), (16, 24)]
    assert [p.top_class.shape for p in predictions] == [(2, 6), (6, 4), (4, 6), (4, 6), (4, 6)]
    truths = [prediction.title.split("\n")[0] for prediction in predictions]
    assert truths == ["kind 0", "no label", "kind 2", "kind 3", "kind 4"]
    alone = predict_tokens(classifier(), images[2:3], images.metainfo["classes"])[0]
    np.testing.assert_allclose(alone.probability, predictions[2].probability, rtol=1e-5)
    assert draw_predictions(predictions, images.metainfo["classes"]).std() > 10
