"""The pictures show what the model computes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import HOOKS
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mmtl.engine.hooks.token_label_visualization import class_attention, colour_of, last_attention, look, score_maps_of
from mmtl.score_maps.stats import cell_probabilities

ARCH = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=1)


def classifier(beta: float = 0.5, backbone: dict | None = None):
    torch.manual_seed(0)
    config = dict(
        type="mmtl.TokenLabelClassifier",
        backbone=backbone or dict(type="mmtl.LVViT", arch=ARCH, img_size=(16, 24), patch_size=4),
        head=dict(type="mmtl.TokenLabelHead", num_classes=7, in_channels=12, beta=beta),
        data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True, token_stride=4),
    )
    return MODELS.build(config).eval()


class Images(list):
    """A validation set of five images, BGR, 16 x 24 pixels."""

    metainfo = dict(classes=[f"kind {label}" for label in range(7)])

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (5, 3, 16, 24), dtype=torch.uint8, generator=generator)
        super().__init__(
            dict(inputs=image, data_samples=DataSample().set_gt_label(label)) for label, image in enumerate(images)
        )


def test_attention_is_the_one_that_the_layer_mixes_values_with():
    attention = classifier().backbone.blocks[-1].attn
    tokens = torch.randn(2, 25, 12)
    value = attention.qkv(tokens).chunk(3, -1)[2].unflatten(-1, (2, -1)).transpose(1, 2)
    # With values that are one for one token and zero elsewhere, the layer's own attention gives its share.
    query, key = (x.unflatten(-1, (2, -1)).transpose(1, 2) for x in attention.qkv(tokens).chunk(3, -1)[:2])
    shares = F.scaled_dot_product_attention(query, key, torch.eye(25).expand(*value.shape[:2], 25, 25))[:, :, 0]
    torch.testing.assert_close(class_attention(attention, tokens), shares.mean(1)[:, 1:])


def test_score_maps_hold_the_softmax_of_the_tokens():
    logits = torch.randn(2, 3, 4, 7)
    score_map = score_maps_of(logits)[1]
    best, classes = logits[1].softmax(-1).topk(5)
    np.testing.assert_array_equal(score_map.classes, classes)
    np.testing.assert_allclose(cell_probabilities(score_map, 7), best, rtol=1e-5)


def test_look_gives_the_model_the_images_and_reads_its_last_block():
    model, images = classifier(), Images()
    seen = look(model, images, images.metainfo["classes"])
    inputs = model.data_preprocessor(dict(inputs=[s["inputs"] for s in images]))["inputs"]
    predicted = model(inputs).argmax(-1)
    assert [s.title.splitlines()[1] for s in seen] == [f"seen as {p} kind {p}" for p in predicted.tolist()]
    np.testing.assert_array_equal(seen[2].image, images[2]["inputs"].permute(1, 2, 0).flip(-1))  # RGB
    assert seen[0].score_map.scores.shape == (4, 6, 5) and seen[0].attention.shape == (4, 6)
    block = model.backbone.blocks[-1]
    tokens, _ = model.backbone.embed(inputs)
    entered = block.norm1(model.backbone.blocks[0](tokens))
    expected = class_attention(block.attn, entered)[3].unflatten(0, (4, 6)).detach()
    np.testing.assert_allclose(seen[3].attention, expected, rtol=1e-5)
    assert not block.attn._forward_pre_hooks  # nothing is left behind


def test_a_backbone_without_attention_is_drawn_without_it():
    backbone = dict(type="mmpretrain.ResNet", depth=18, base_channels=12, stem_channels=4, out_indices=(0,))
    model = classifier(backbone=backbone)
    assert last_attention(model.backbone) is None
    assert look(model, Images(), None)[0].attention is None


@pytest.mark.parametrize(("epoch", "beta", "drawn"), [(3, 0.5, True), (4, 0.5, False), (10, 0.5, True), (3, 0, False)])
def test_pictures_come_every_few_epochs_with_the_last_and_from_trained_patch_classifiers(epoch, beta, drawn):
    pictures = []
    runner = SimpleNamespace(
        model=classifier(beta),
        epoch=epoch,
        max_epochs=10,
        val_loop=SimpleNamespace(dataloader=SimpleNamespace(dataset=Images())),
        visualizer=SimpleNamespace(add_image=lambda *args: pictures.append(args)),
    )
    hook = HOOKS.build(dict(type="mmtl.TokenLabelVisualizationHook", interval=3, num_images=2))
    hook.after_val_epoch(runner)
    hook.after_val_epoch(runner)
    assert len(pictures) == 2 * drawn
    for name, picture, step in pictures:
        assert (name, step, picture.dtype) == ("token_labels", epoch, np.uint8) and picture.std() > 10
    if drawn:
        np.testing.assert_array_equal(pictures[0][1], pictures[1][1])  # the same images, the same colours


def test_neighbouring_classes_have_colours_far_apart():
    colours = np.array([colour_of(label) for label in range(20)])
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1) + 9 * np.eye(20)
    assert distances.min() > 0.15 and np.linalg.norm(np.diff(colours, axis=0), axis=-1).min() > 0.5
