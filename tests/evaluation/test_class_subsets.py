"""ImageNet-A, -R, -V2: folders name their classes among the 1000, and the choice is among only those."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import METRICS
from mmpretrain.registry import DATASETS

from mmtl.datasets.imagenet_folders import class_labels
from mmtl.utils.image_files import IMAGE_SUFFIXES
from mmtl.utils.imagenet_wnids import wnid_labels


def make_dataset(root, *folders: str):
    for folder in folders:
        (root / folder).mkdir()
        cv2.imwrite(str(root / folder / "a.jpg"), np.zeros((4, 4, 3), np.uint8))
    return DATASETS.build(dict(type="mmtl.ImageNetFolders", data_root=str(root)))


def labels_of(dataset) -> dict[str, int]:
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return {info["img_path"].split("/")[-2]: info["gt_label"] for info in infos}


def test_wnids_are_those_of_imagenet_in_order():
    labels = wnid_labels()
    assert list(labels.values()) == list(range(1000)) and sorted(labels) == list(labels)
    assert labels["n01440764"] == 0 and labels["n01443537"] == 1 and labels["n15075141"] == 999


def test_wnids_agree_with_timm():
    info = pytest.importorskip("timm.data.imagenet_info").ImageNetInfo()
    assert info.label_names() == list(wnid_labels())


def test_folders_of_some_wnids_keep_their_class(tmp_path):
    dataset = make_dataset(tmp_path, "n15075141", "n01443537")
    assert labels_of(dataset) == {"n01443537": 1, "n15075141": 999}
    assert dataset.metainfo["class_subset"] == (1, 999) and len(dataset.metainfo["classes"]) == 1000


def test_images_are_those_that_the_commands_read(tmp_path):
    (tmp_path / "n01443537").mkdir()
    for suffix in IMAGE_SUFFIXES:
        (tmp_path / "n01443537" / f"a{suffix}").touch()
    assert len(make_dataset(tmp_path)) == len(IMAGE_SUFFIXES)


def test_test_images_need_no_class_folders(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((4, 4, 3), np.uint8))
    dataset = DATASETS.build(dict(type="mmtl.ImageNetFolders", data_root=str(tmp_path), with_label=False))
    assert len(dataset) == 1 and "gt_label" not in dataset.get_data_info(0)


def test_folders_named_by_index_are_sorted_as_numbers(tmp_path):
    """As strings, "10" comes before "2"."""
    dataset = make_dataset(tmp_path, "0", "2", "10", "100")
    assert labels_of(dataset) == {"0": 0, "2": 2, "10": 10, "100": 100}


@pytest.mark.parametrize("folders", [["cat", "dog"], ["0", "1000"], ["n01440764", "5"], ["n00000001"]])
def test_folder_that_names_no_class_is_reported(folders):
    with pytest.raises(ValueError, match="wnid .*class index .*such as"):
        class_labels(folders, "dataset")


def test_folders_without_images_are_refused(tmp_path):
    (tmp_path / "n01440764").mkdir()
    with pytest.raises(ValueError, match="must contain images"):
        make_dataset(tmp_path)


def accuracy(subset, scores: list[list[float]], labels: list[int], topk=(1,)) -> dict:
    metric = METRICS.build(dict(type="mmtl.SubsetAccuracy", topk=topk))
    metric.dataset_meta = dict(class_subset=subset)
    samples = [
        dict(pred_score=torch.tensor(s), gt_label=torch.tensor([t])) for s, t in zip(scores, labels, strict=True)
    ]
    metric.process(None, samples)
    return metric.evaluate(len(labels))


def test_choice_is_among_the_classes_of_the_dataset():
    scores = [[0.1, 0.6, 0.3], [0.5, 0.1, 0.4]]
    assert accuracy((0, 2), scores, [2, 0])["accuracy/top1"] == 100
    assert accuracy((0, 1, 2), scores, [2, 0])["accuracy/top1"] == 50


def test_classes_outside_the_subset_are_not_among_the_top_k():
    assert accuracy((0, 2), [[0.1, 0.6, 0.3]], [0], topk=(2,))["accuracy/top2"] == 100


def test_subset_of_all_classes_is_plain_accuracy():
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.rand(50, 4, generator=generator), torch.randint(4, (50,), generator=generator)
    plain = METRICS.build(dict(type="mmpretrain.Accuracy"))
    plain.process(None, [dict(pred_score=s, gt_label=t[None]) for s, t in zip(scores, labels, strict=True)])
    assert accuracy(range(4), scores.tolist(), labels.tolist()) == plain.evaluate(50)


def test_dataset_without_a_subset_and_model_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="mmtl.ImageNetFolders"):
        accuracy((), [[1.0]], [0])
    with pytest.raises(ValueError, match="below 2, .*got 5"):
        accuracy((0, 5), [[1.0, 0.0]], [0])
