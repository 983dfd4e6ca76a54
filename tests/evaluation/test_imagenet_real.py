import json

import pytest
import torch
from mmengine.registry import METRICS

from mmtl.evaluation.imagenet_real import NUM_IMAGES

LABELS = {1: [3, 7], 2: [], 3: [7], 50_000: [0]}


@pytest.fixture(scope="module")
def real_json(tmp_path_factory):
    labels = [[] for _ in range(NUM_IMAGES)]
    for number, classes in LABELS.items():
        labels[number - 1] = classes
    path = tmp_path_factory.mktemp("real") / "real.json"
    path.write_text(json.dumps(labels))
    return path


def prediction(number: int, *top: int) -> dict:
    """A prediction whose classes are ranked as given."""
    scores = torch.zeros(10)
    for rank, label in enumerate(top):
        scores[label] = 1 - 0.1 * rank
    return dict(img_path=f"data/val/n0/ILSVRC2012_val_{number:08d}.JPEG", pred_score=scores)


def measure(real_json, *predictions: dict, **arguments) -> dict:
    metric = METRICS.build(dict(type="mmtl.ImageNetReaL", labels=str(real_json), **arguments))
    metric.process(None, predictions)
    return metric.evaluate(len(predictions))


def test_any_label_is_correct_and_images_without_one_do_not_count(real_json):
    found = measure(real_json, prediction(1, 7), prediction(2, 5), prediction(3, 3))
    assert found == {"real/top1": 50.0, "real/images": 2}


def test_images_are_identified_by_name_not_by_order(real_json):
    right = [prediction(50_000, 0), prediction(3, 7), prediction(1, 3)]
    assert measure(real_json, *right)["real/top1"] == measure(real_json, *right[::-1])["real/top1"] == 100


def test_top_k_counts_a_label_among_the_first_k(real_json):
    found = measure(real_json, prediction(1, 4, 5, 7), prediction(3, 4, 5, 6, 7), topk=(1, 3))
    assert found["real/top1"] == 0 and found["real/top3"] == 50


def test_images_without_labels_only_are_refused(real_json):
    with pytest.raises(ValueError, match="nothing to measure"):
        measure(real_json, prediction(2, 1))


@pytest.mark.parametrize("name", ["cat.jpg", "ILSVRC2012_val_00000000.JPEG", "ILSVRC2012_val_00050001.JPEG"])
def test_images_of_other_names_are_refused(real_json, name):
    with pytest.raises(ValueError, match=f"{name}.* must be one of the ImageNet validation set"):
        measure(real_json, dict(img_path=name, pred_score=torch.zeros(10)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps([[1]] * (NUM_IMAGES - 1)), "50000 lists .*got a list of 49999"),
        (json.dumps({"1": [1]}), "got a dict"),
        (json.dumps([[1]] * (NUM_IMAGES - 1) + [[1000]]), r"entry 50000 .*got \[1000\]"),
        (json.dumps([[1]] * (NUM_IMAGES - 1) + [["1"]]), "entry 50000"),
        (json.dumps([1] + [[1]] * (NUM_IMAGES - 1)), "entry 1 .*got 1"),
        ("[[1], [2", "got invalid JSON"),
    ],
)
def test_file_that_is_not_real_json_is_refused(tmp_path, text, message):
    (tmp_path / "real.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        METRICS.build(dict(type="mmtl.ImageNetReaL", labels=str(tmp_path / "real.json")))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.json does not exist.*real.json"):
        METRICS.build(dict(type="mmtl.ImageNetReaL", labels=str(tmp_path / "gone.json")))
