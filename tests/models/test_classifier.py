"""Head, preprocessor and classifier together: L_cls + beta * L_tl of the paper, and plain training where maps lack."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.score_map_batches import random_maps
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mmtl.models.data_preprocessor import TokenLabelDataPreprocessor
from mmtl.models.lvvit.released_weights import convert_to_released
from mmtl.models.token_labels.targets import token_targets

NANO = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=2)
NUM_CLASSES = 7


def build(head=(), preprocessor=(), backbone=None):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=backbone or dict(type="mmtl.LVViT", arch=NANO, img_size=16, patch_size=4),
            head=dict(type="mmtl.TokenLabelHead", num_classes=NUM_CLASSES, in_channels=12) | dict(head),
            data_preprocessor=dict(preprocessor) or None,
        )
    )
    model.init_weights()
    return model


def batch_of(batch=4, maps=True, probabilities=True):
    images = torch.randint(0, 256, (batch, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    scores, classes, log_norm = random_maps(5, batch, (3, 5), 2, NUM_CLASSES)
    samples = []
    for b in range(batch):
        sample = DataSample().set_gt_label(b % NUM_CLASSES)
        if maps is True or (maps and maps[b]):
            sample.set_field(scores[b].half(), "score_map_scores")
            sample.set_field(classes[b].int(), "score_map_classes")
            sample.set_field(torch.tensor([[0.5, 0, 0.2], [0, 0.7, 0.1]]), "view_affine")
            if probabilities:
                sample.set_field(log_norm[b].half(), "score_map_log_norm")
        samples.append(sample)
    return dict(inputs=list(images), data_samples=samples)


def losses_of(model, data):
    """What mmengine adds up; the rest is for the log."""
    logged = model.train()(**model.data_preprocessor(data, training=True), mode="loss")
    return {name: value for name, value in logged.items() if "loss" in name}


def plain_losses(model, data, **options):
    """The paper's losses, the plain way, on the same images."""
    prepared = model.data_preprocessor(data, training=False)
    tokens = model.train().backbone(prepared["inputs"])[-1]
    samples = data["data_samples"]
    fields = {
        name: torch.stack([s.get(f"score_map_{name}").float() for s in samples]) for name in ("scores", "log_norm")
    }
    classes, affine = (torch.stack([s.get(n) for s in samples]) for n in ("score_map_classes", "view_affine"))
    targets = token_targets(
        fields["scores"], classes, affine, (4, 4), NUM_CLASSES, log_norm=fields["log_norm"], **options
    )
    patch_logits = model.head.token_fc(tokens[:, 1:])
    labels = torch.cat([s.gt_label for s in samples])
    return dict(
        loss_cls=F.cross_entropy(model.head.fc(tokens[:, 0]), labels),
        loss_token=model.head.beta * -(targets.dense() * patch_logits.log_softmax(-1)).sum(-1).mean(),
    )


@pytest.mark.parametrize("options", [dict(), dict(tail="probability")])
def test_losses_are_the_papers(options):
    model, data = build(preprocessor=options, head=dict(beta=0.3)), batch_of()
    torch.testing.assert_close(losses_of(model, data), plain_losses(model, data, **options))


def test_without_the_patch_term_it_is_plain_cross_entropy_in_value_and_gradient():
    data = batch_of()
    values, gradients = [], []
    for kind in ("mmtl", "plain"):
        model = build(head=dict(beta=0))
        losses = losses_of(model, data) if kind == "mmtl" else dict(loss_cls=plain_losses(model, data)["loss_cls"])
        sum(losses.values()).backward()
        values.append(losses)
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert not any("token_fc" in name for name in gradients[0])


def test_mixtoken_compares_output_tokens_with_the_labels_of_the_image_they_show():
    np.random.seed(0)
    mixing = dict(batch_augments=dict(augments=[dict(type="mmtl.MixToken")]))
    model, data = build(preprocessor=mixing), batch_of()
    prepared = model.data_preprocessor(data, training=True)
    mask, partner = prepared["token_mix"]
    assert 0 < mask.sum() < 16
    losses = model.train()(**prepared, mode="loss")
    # The released way: paste the output tokens back to their own image, compare with the unmixed labels.
    tokens = model.backbone(prepared["inputs"], prepared["token_mix"])[-1]
    unmixed = torch.where(mask[:, None], tokens[:, 1:], tokens[:, 1:][partner])
    labels = torch.cat([s.gt_label for s in data["data_samples"]])
    patch_targets = build().data_preprocessor(data, training=True)["targets"].patch_tokens.dense()
    log_probabilities = model.head.token_fc(unmixed).log_softmax(-1)
    torch.testing.assert_close(losses["loss_token"], 0.5 * -(patch_targets * log_probabilities).sum(-1).mean())
    share, logits = mask.float().mean(), model.head.fc(tokens[:, 0])
    expected = share * F.cross_entropy(logits, labels) + (1 - share) * F.cross_entropy(logits, labels[partner])
    torch.testing.assert_close(losses["loss_cls"], expected)


def test_without_score_maps_the_same_model_trains_on_class_labels():
    model, data = build(), batch_of(maps=False)
    losses = losses_of(model, data)
    assert losses["loss_token"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters()), "distributed training needs every parameter"


@pytest.mark.parametrize("augment", ["Mixup", "CutMix", "ResizeMix"])
def test_without_score_maps_mmpretrains_batch_augments_do_what_they_do_in_mmpretrain(augment):
    augments = dict(augments=[dict(type=f"mmpretrain.{augment}", alpha=1.0)])
    results, data = [], batch_of(maps=False)
    for model in (
        build(preprocessor=dict(batch_augments=augments)),
        build(
            preprocessor=dict(type="mmpretrain.ClsDataPreprocessor", num_classes=NUM_CLASSES, batch_augments=augments)
        ),
    ):
        np.random.seed(2)
        torch.manual_seed(2)
        prepared = model.data_preprocessor(copy.deepcopy(data), training=True)
        if "targets" in prepared:
            labels = prepared["targets"].class_token.dense()[:, 0]
        else:
            labels = torch.stack([sample.gt_score for sample in prepared["data_samples"]])
        results.append((prepared["inputs"], labels))
    torch.testing.assert_close(results[0], results[1])
    assert (results[0][1].amax(-1) < 1).any(), "nothing was mixed"


def test_mmtl_cutmix_trains_with_score_maps_and_mmpretrains_is_refused():
    np.random.seed(0)
    torch.manual_seed(0)
    data = batch_of()
    ours, theirs = (
        build(preprocessor=dict(batch_augments=dict(augments=[dict(type=f"{scope}.CutMix", alpha=1.0)])))
        for scope in ("mmtl", "mmpretrain")
    )
    losses = losses_of(ours, data)
    sum(losses.values()).backward()
    assert losses["loss_token"] > 0 and ours.head.token_fc.weight.grad.any()
    with pytest.raises(ValueError, match="type='mmtl.CutMix'"):
        losses_of(theirs, data)


def test_images_without_a_map_train_on_their_class_label_only():
    model, data = build(), batch_of(maps=[True, False, True, False])
    targets = model.data_preprocessor(data, training=True)["targets"]
    assert targets.patch_tokens.row_weights[:, 0].tolist() == [1, 0, 1, 0]
    some = dict(inputs=data["inputs"][::2], data_samples=data["data_samples"][::2])
    mapped = model.data_preprocessor(some, training=True)["targets"]
    torch.testing.assert_close(targets.patch_tokens.dense()[::2], mapped.patch_tokens.dense())
    both = build(preprocessor=dict(class_target="both"))
    class_token = both.data_preprocessor(data, training=True)["targets"].class_token.dense()[:, 0]
    torch.testing.assert_close(class_token[1::2], F.one_hot(torch.tensor([1, 3]), NUM_CLASSES).float())
    assert (class_token[::2].amax(-1) < 1).all()


def test_the_former_name_of_the_blend_works_with_a_warning():
    data = batch_of()
    with pytest.warns(FutureWarning, match="write class_target='both'.*released default is class_target='map'"):
        models = [build(preprocessor=dict(class_target=name)) for name in ("released", "both", "map")]
    class_tokens = [model.data_preprocessor(data, training=True)["targets"].class_token.dense() for model in models]
    assert torch.equal(class_tokens[0], class_tokens[1]) and not torch.equal(class_tokens[1], class_tokens[2])


def test_maps_with_and_without_log_norm_may_stand_in_one_batch():
    data, targets = batch_of(), []
    for index in (1, 0):  # the order in which they come does not matter
        del data["data_samples"][index].score_map_log_norm
        targets.append(build().data_preprocessor(data, training=True)["targets"].patch_tokens.dense())
    torch.testing.assert_close(targets[0], targets[1])
    with pytest.raises(ValueError, match="tail='probability' needs log_norm"):
        build(preprocessor=dict(tail="probability")).data_preprocessor(data, training=True)


def test_outside_reaches_the_targets():
    data = batch_of()
    data["data_samples"][1].view_affine[0, 2] = 5.0  # its view shows nothing of the image
    uniform, ignored = (
        build(preprocessor=dict(outside=outside)).data_preprocessor(data, training=True)["targets"].patch_tokens
        for outside in ("uniform", "ignore")
    )
    assert uniform.row_weights.amin() == 1
    assert ignored.row_weights.sum(1).tolist() == [16, 0, 16, 16]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(class_target="mapp"), "class_target must be 'label', 'map' or 'both', got 'mapp'"),
        (dict(tail="x"), "tail must be"),
        (dict(outside="x"), "outside must be"),
        (dict(smoothing=-0.5), r"smoothing must be in \[0, 1\], got -0.5"),
    ],
)
def test_wrong_options_of_the_preprocessor_are_refused_before_any_batch(option, message):
    with pytest.raises(ValueError, match=message):
        build(preprocessor=option)


def test_erased_tokens_are_left_out():
    model, data = build(), batch_of()
    for sample in data["data_samples"]:
        sample.set_field(torch.tensor([[0.5, 0.0, 1.0, 0.25], [0, 0, 0, 0]]), "erased_boxes_xyxy")
    kept = model.data_preprocessor(data, training=True)["targets"].patch_tokens.row_weights.view(4, 4, 4)
    expected = torch.ones(4, 4)
    expected[0, 2:] = 0
    assert all(torch.equal(image, expected) for image in kept)


def test_prediction_adds_the_best_patch():
    images = torch.randn(2, 3, 16, 16)
    model = build().eval()
    tokens = model.backbone(images)[-1]
    expected = model.head.fc(tokens[:, 0]) + 0.5 * model.head.token_fc(tokens[:, 1:]).max(1).values
    torch.testing.assert_close(model(images), expected)
    class_only = build(head=dict(predict_weight=0)).eval()
    torch.testing.assert_close(class_only(images), class_only.head.fc(class_only.backbone(images)[-1][:, 0]))
    assert build(head=dict(beta=0)).head.predict_weight == 0


@torch.no_grad()
@pytest.mark.parametrize(("head", "has_patch_head"), [(dict(), True), (dict(beta=0), False)])
def test_by_its_released_names_a_model_predicts_the_same(head, has_patch_head):
    model, images = build(head=head).eval(), torch.randn(2, 3, 16, 16)
    released = convert_to_released(model.state_dict())
    assert ("aux_head.weight" in released) == has_patch_head
    tokens = model.backbone(images)[-1]
    logits = F.linear(tokens[:, 0], released["head.weight"], released["head.bias"])
    if has_patch_head:
        logits += 0.5 * F.linear(tokens[:, 1:], released["aux_head.weight"], released["aux_head.bias"]).amax(1)
    torch.testing.assert_close(model(images), logits)


def test_predict_fills_the_data_samples():
    model = build().eval()
    data = model.data_preprocessor(batch_of())
    predictions = model(**data, mode="predict")
    scores = model(data["inputs"]).softmax(-1)
    torch.testing.assert_close(torch.stack([p.pred_score for p in predictions]), scores)
    assert [p.pred_label.item() for p in predictions] == scores.argmax(-1).tolist()


def test_a_feature_map_is_its_own_set_of_patches():
    backbone = dict(type="mmpretrain.ResNet_CIFAR", depth=18, base_channels=4, stem_channels=4)
    model = build(backbone=backbone, head=dict(in_channels=32), preprocessor=dict(token_stride=8))
    data = batch_of()
    losses = losses_of(model, data)
    feature = model.backbone(model.data_preprocessor(data)["inputs"])[-1]
    assert feature.shape[-2:] == (2, 2)
    labels = torch.cat([s.gt_label for s in data["data_samples"]])
    torch.testing.assert_close(losses["loss_cls"], F.cross_entropy(model.head.fc(feature.mean((2, 3))), labels))
    assert losses["loss_token"] > 0


def test_what_the_config_leaves_out_comes_from_head_and_backbone():
    preprocessor = build().data_preprocessor
    assert (preprocessor.num_classes, preprocessor.token_stride) == (NUM_CLASSES, 4)


def test_score_maps_of_other_classes_are_named():
    data = batch_of()
    data["data_samples"][2].score_map_classes[1, 4, 0] = NUM_CLASSES
    data["data_samples"][2].set_metainfo(dict(img_path="a/b.png"))
    with pytest.raises(ValueError, match=r"a/b.png: .* within the 7 classes \(0 to 6\), got class 7 at \(1, 4, 0\)"):
        losses_of(build(), data)


def test_score_maps_of_two_shapes_are_named():
    data = batch_of()
    data["data_samples"][0].set_field(torch.zeros(2, 2, 2), "score_map_scores")
    with pytest.raises(ValueError, match=r"one shape .*\(3, 5, 2\) and \(2, 2, 2\)"):
        losses_of(build(), data)


def test_a_missing_token_stride_is_named():
    preprocessor = TokenLabelDataPreprocessor(num_classes=NUM_CLASSES)
    with pytest.raises(ValueError, match="needs token_stride"):
        preprocessor(batch_of(), training=True)


@pytest.mark.parametrize("options", [dict(num_classes=0), dict(beta=-1)])
def test_bad_head_options_are_named(options):
    with pytest.raises(ValueError, match="num_classes > 0 and beta >= 0"):
        build(head=options)
