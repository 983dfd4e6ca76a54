"""The validation loss is the mean cross-entropy of the labels."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.evaluator import Evaluator

from mmtl.evaluation import CrossEntropy


def test_it_is_the_mean_over_the_images_of_a_classifier():
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    metric = CrossEntropy()
    samples = [
        dict(pred_score=row.softmax(0), gt_label=label.reshape(1)) for row, label in zip(logits, labels, strict=True)
    ]
    metric.process(None, samples[:2])
    metric.process(None, samples[2:])
    assert metric.evaluate(5)["loss/cross_entropy"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


def test_it_is_the_mean_over_the_labeled_pixels_of_a_segmentor():
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, :3] = 255
    metric = CrossEntropy()
    for image, label in zip(logits, labels, strict=True):
        metric.process(None, [dict(seg_logits=dict(data=image), gt_sem_seg=dict(data=label[None]))])
    expected = F.cross_entropy(logits, labels, ignore_index=255).item()
    assert metric.evaluate(2)["loss/cross_entropy"] == pytest.approx(expected, rel=1e-5)


def test_it_is_built_from_a_config():
    evaluator = Evaluator([dict(type="mmtl.CrossEntropy")])
    assert evaluator.metrics[0].prefix == "loss"
