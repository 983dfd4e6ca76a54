"""Accuracy without dense targets equals the accuracy with them."""

import pytest
import torch
from helpers.score_map_batches import random_maps
from mmpretrain.structures import DataSample

from mmtl.evaluation import HeadAccuracy
from mmtl.models import TokenLabelHead
from mmtl.models.token_labels.accuracy import token_accuracy
from mmtl.models.token_labels.targets import TokenTargets, token_targets

K = 7


def targets_of(tail: str) -> TokenTargets:
    """Labels of 4 images that hang half over their border, two tokens out of the loss."""
    scores, classes, log_norm = random_maps(5, 4, (3, 5), 2, K)
    affine = torch.tensor([[0.9, 0.1, 0.4], [0.0, 0.7, 0.1]]).repeat(4, 1, 1)
    targets = token_targets(scores, classes, affine, (4, 4), K, tail=tail, smoothing=0.1, log_norm=log_norm)
    row_weights = torch.ones(4, 16)
    row_weights[0, :2] = 0
    return targets.weighted(row_weights)


@pytest.mark.parametrize("tail", ["zero_logit", "probability"])
def test_equals_the_accuracy_on_dense_targets(tail):
    targets = targets_of(tail)
    logits = torch.randn(4, 16, K, generator=torch.Generator().manual_seed(0)) + 2 * targets.dense()
    best, first = targets.dense().max(-1)
    counted = (targets.row_weights > 0) & (best - targets.tail > 1e-6)
    expected = (logits.argmax(-1) == first)[counted].float().mean() * 100
    assert 0 < counted.sum() < counted.numel() - 2  # some tokens lie outside
    torch.testing.assert_close(token_accuracy(logits, targets), expected)


def test_the_larger_share_of_a_mixed_image_is_its_label():
    one, other = (TokenTargets.from_labels(torch.tensor([label]), K, smoothing=0.1) for label in (2, 5))
    mixed = one * 0.3 + other * 0.7
    assert token_accuracy(torch.eye(K)[[5]], mixed) == 100 and token_accuracy(torch.eye(K)[[2]], mixed) == 0
    # Shares of one class add up.
    assert token_accuracy(torch.eye(K)[[2]], one * 0.3 + other * 0.4 + one * 0.3) == 100


def test_no_token_left_gives_zero():
    targets = targets_of("zero_logit")
    assert token_accuracy(targets.dense(), targets.weighted(torch.zeros(4, 1))) == 0


def test_accuracies_are_logged_and_not_added_to_the_loss():
    head = TokenLabelHead(K, 8)
    samples = [DataSample().set_gt_label(label) for label in (1, 2)]
    losses = head.loss((torch.randn(2, 5, 8),), samples)
    assert set(losses) == {"loss_cls", "loss_token", "accuracy_class_token"}
    assert not losses["accuracy_class_token"].requires_grad
    assert all("loss" in name or name.startswith("accuracy") for name in losses)


def test_validation_reports_each_classifier_separately():
    head, metric = TokenLabelHead(2, 2, predict_weight=0.5), HeadAccuracy()
    with torch.no_grad():
        for layer in (head.fc, head.token_fc):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    # The class token is right on the first image, one patch of it is wrong; the other way round on the second.
    feats = torch.tensor([[[3.0, 0.0], [1.0, 2.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 9.0], [0.0, 0.0]]])
    samples = head.predict((feats,), [DataSample().set_gt_label(label) for label in (0, 1)])
    assert [sample.pred_label.item() for sample in samples] == head((feats,)).argmax(-1).tolist() == [0, 1]
    metric.process(None, [sample.to_dict() for sample in samples])
    assert metric.evaluate(2) == {"accuracy/class_token": 50.0, "accuracy/patch_tokens": 50.0}


def test_an_untrained_patch_classifier_is_not_measured():
    head, metric = TokenLabelHead(2, 2, beta=0), HeadAccuracy()
    samples = head.predict((torch.randn(1, 3, 2),), [DataSample().set_gt_label(0)])
    metric.process(None, [sample.to_dict() for sample in samples])
    assert metric.evaluate(1).keys() == {"accuracy/class_token"}
