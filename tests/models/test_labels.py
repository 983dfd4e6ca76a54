"""One class label per image; class weights count as PyTorch's cross-entropy counts them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from mmtl.datasets.transforms import PackTokenLabelInputs
from mmtl.models import TokenLabelHead, collate_training_batch
from mmtl.models.token_labels.batch_targets import BatchTargets
from mmtl.models.token_labels.targets import TokenTargets

MANY = [[0, 1], [2]]


def packed(label, data_sample, **fields):
    results = dict(img=np.zeros((4, 4, 3), np.uint8), img_path="a.png", gt_label=label, **fields)
    return PackTokenLabelInputs(data_sample=data_sample)(results)


@pytest.mark.parametrize("data_sample", [True, False])
def test_several_labels_of_an_image_are_refused_also_when_the_counts_agree(data_sample):
    for labels in ([[0, 1], [2, 3]], [[0, 1], 2], [[0, 1, 2], []]):
        with pytest.raises(ValueError, match=r"a.png: gt_label must be one class, got .*\[0, 1"):
            collate_training_batch([packed(label, data_sample) for label in labels], 5)
    assert collate_training_batch([packed([3], data_sample), packed(1, data_sample)], 5)["labels"].tolist() == [3, 1]


@pytest.mark.parametrize("data_sample", [True, False])
def test_soft_labels_are_refused(data_sample):
    with pytest.raises(ValueError, match="a.png: gt_label must be one class, got soft labels"):
        collate_training_batch([packed(0, data_sample, gt_score=np.array([0.5, 0.5], np.float32))], 2)


def test_the_head_refuses_several_labels_from_another_data_preprocessor():
    samples = [DataSample().set_gt_label(label) for label in ([0, 1], [2, 3])]
    feats = (torch.rand(4, 5, 6),)
    with pytest.raises(ValueError, match="gt_label must be one class"):
        TokenLabelHead(4, 6).loss(feats, samples)


def test_class_weights_equal_those_of_cross_entropy_for_class_and_patch_labels():
    torch.manual_seed(0)
    weight, labels = [1.0, 5.0, 0.5], torch.tensor([0, 1, 1, 2])
    head, feats = TokenLabelHead(3, 6, class_weight=weight), torch.rand(4, 5, 6)
    patches = torch.randint(0, 3, (4, 4))
    entries = patches.unsqueeze(-1), torch.ones(4, 4, 1), torch.zeros(4, 4), torch.ones(4, 4)
    targets = BatchTargets(TokenTargets.from_labels(labels, 3), TokenTargets(*entries, 3, (2, 2)), (2, 2))
    losses = head.loss((feats,), [], targets)
    expected = F.cross_entropy(head.fc(feats[:, 0]), labels, torch.tensor(weight))
    torch.testing.assert_close(losses["loss_cls"], expected)
    expected = F.cross_entropy(head.token_fc(feats[:, 1:]).flatten(0, 1), patches.flatten(), torch.tensor(weight))
    torch.testing.assert_close(losses["loss_token"], head.beta * expected)
    assert "class_weight" not in head.state_dict()


def test_a_soft_label_weighs_as_the_mean_of_its_classes():
    half = TokenTargets.from_labels(torch.tensor([0, 1]), 2) * 0.5
    mixed = half + half[torch.tensor([1, 0])]
    assert mixed.by_class(torch.tensor([1.0, 3.0])).row_weights.tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize("weight", [[1.0], [1.0, -1.0]])
def test_impossible_class_weights_are_refused(weight):
    with pytest.raises(ValueError, match="class_weight must be 2 numbers"):
        TokenLabelHead(2, 4, class_weight=weight)


def test_a_labeler_learns_the_class_label_with_the_mean_of_its_patches():
    torch.manual_seed(0)
    labels, feats = torch.tensor([0, 1, 1, 2]), torch.rand(4, 5, 6)
    head = TokenLabelHead(3, 6, beta=0.7, patch_target="label")
    targets = BatchTargets(TokenTargets.from_labels(labels, 3, smoothing=0.1), None, None)
    losses = head.loss((feats,), [], targets)
    expected = F.cross_entropy(head.token_fc(feats[:, 1:]).mean(1), labels, label_smoothing=0.1)
    torch.testing.assert_close(losses["loss_token"], 0.7 * expected)
    torch.testing.assert_close(losses["loss_cls"], F.cross_entropy(head.fc(feats[:, 0]), labels, label_smoothing=0.1))
    assert "accuracy_patch_tokens" in losses
    with pytest.raises(ValueError, match="patch_target must be 'map' or 'label', got 'pooled'"):
        TokenLabelHead(3, 6, patch_target="pooled")
