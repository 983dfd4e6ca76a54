"""A training batch is a few tensors, whatever its samples have, and wrong numbers are found in the worker by name."""

import copy

import pytest
import torch
from helpers.score_map_batches import random_maps
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from mmtl.models.collate import collate_training_batch
from mmtl.models.data_preprocessor import TokenLabelDataPreprocessor

K = 7


def samples(batch=4, without_map=(), padded=(), without_log_norm=()):
    scores, classes, log_norm = random_maps(5, batch, (3, 5), 2, K)
    images = torch.randint(0, 256, (batch, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    found = []
    for b in range(batch):
        sample = DataSample(metainfo=dict(img_path=f"dogs/{b}.jpg")).set_gt_label(b)
        sample.set_field(torch.tensor([[0.5, 0.0, 1.0, 0.25], [0, 0, 0, 0]]), "erased_boxes_xyxy")
        sample.set_field(torch.zeros(2, 3), "augment")
        if b not in without_map:
            sample.set_field(scores[b].half(), "score_map_scores")
            sample.set_field(classes[b].int(), "score_map_classes")
            sample.set_field(torch.tensor([[0.5, 0, 0.2], [0, 0.7, 0.1]]), "view_affine")
            if b not in without_log_norm:
                sample.set_field(log_norm[b].half(), "score_map_log_norm")
        if b in padded:
            sample.set_field(torch.tensor([[[1.2, 0, -0.1], [0, 1.2, -0.1]]]), "frame_affines")
        found.append(dict(inputs=images[b], data_samples=sample))
    return found


def without_draws(found):
    for sample in found:
        del sample["data_samples"].augment
    return found


def test_the_registry_finds_it_by_the_name_that_a_data_loader_config_has():
    assert FUNCTIONS.get("mmtl.collate_training_batch") is collate_training_batch


def test_a_batch_with_everything_is_ten_tensors_of_the_stated_types():
    batch = collate_training_batch(samples(without_map=(1,), padded=(0, 2)), K)
    assert {name: (x.dtype, tuple(x.shape)) for name, x in batch.items()} == dict(
        inputs=(torch.uint8, (4, 3, 16, 16)),
        labels=(torch.int64, (4,)),
        scores=(torch.float16, (4, 3, 5, 2)),
        classes=(torch.int32, (4, 3, 5, 2)),
        view_affine=(torch.float32, (4, 2, 3)),
        log_norm=(torch.float16, (4, 3, 5)),
        frame_affines=(torch.float32, (4, 1, 2, 3)),
        has_map=(torch.bool, (4,)),
        erased_boxes_xyxy=(torch.float32, (4, 2, 4)),
        augment=(torch.float32, (4, 2, 3)),
    )
    assert batch["has_map"].tolist() == [True, False, True, True]


@pytest.mark.parametrize("field", ["augment", "erased_boxes_xyxy"])
@pytest.mark.parametrize("index", [0, 2])
def test_a_sample_without_a_field_that_others_have_is_named(field, index):
    found = samples()
    delattr(found[index]["data_samples"], field)
    with pytest.raises(ValueError, match=rf"dogs/{index}.jpg: {field} must be in all samples of a batch or in none"):
        collate_training_batch(found, K)


def test_what_no_sample_has_is_absent():
    assert {"has_map", "frame_affines"}.isdisjoint(collate_training_batch(samples()))
    assert "log_norm" not in collate_training_batch(samples(without_log_norm=(2,)))
    labels_only = collate_training_batch(samples(without_map=range(4)))
    assert set(labels_only) == {"inputs", "labels", "erased_boxes_xyxy", "augment"}


def test_frames_added_for_other_images_contain_every_point():
    found = samples(padded=(1,))
    batch = collate_training_batch(found)
    extreme = torch.tensor([1e4, -1e4, 1.0])
    inside = batch["frame_affines"][[0, 2, 3], 0] @ extreme
    assert ((inside >= 0) & (inside <= 1)).all()
    assert torch.equal(batch["frame_affines"][1], found[1]["data_samples"].frame_affines)


@pytest.mark.parametrize("options", [dict(), dict(without_map=(0, 3), padded=(1,)), dict(without_map=range(4))])
def test_the_preprocessor_gives_the_same_for_a_collated_batch_from_a_worker_and_for_loose_samples(options):
    preprocessor = TokenLabelDataPreprocessor(K, 4, smoothing=0.1, mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True)
    found = without_draws(samples(**options))
    loose = preprocessor(pseudo_collate(copy.deepcopy(found)), training=True)
    loader = DataLoader(found, batch_size=4, num_workers=1, collate_fn=collate_training_batch)
    (batch,) = loader
    together = preprocessor(batch, training=True)
    assert together.keys() == loose.keys() == {"inputs", "targets"}
    torch.testing.assert_close(together["inputs"], loose["inputs"], rtol=0, atol=0)
    plain = torch.stack([sample["inputs"].flip(0).float() for sample in found])
    scale = torch.tensor([4.0, 5, 6]).view(3, 1, 1)
    torch.testing.assert_close(together["inputs"], (plain - torch.tensor([1.0, 2, 3]).view(3, 1, 1)) / scale)
    for part in ("class_token", "patch_tokens"):
        one, other = (getattr(prepared["targets"], part) for prepared in (together, loose))
        assert (
            (one is None) == (other is None) == (part == "patch_tokens" and len(options.get("without_map", ())) == 4)
        )
        if one is not None:
            torch.testing.assert_close(one.dense(), other.dense(), rtol=0, atol=0)


def broken():
    nan, high, flat, low, label, small = (samples() for _ in range(6))
    nan[1]["data_samples"].score_map_scores[2, 3, 0] = float("nan")
    high[2]["data_samples"].score_map_classes[1, 4, 0] = K
    flat[3]["data_samples"].view_affine = torch.zeros(2, 3)
    low[0]["data_samples"].score_map_log_norm = low[0]["data_samples"].score_map_scores[..., 0] - 1
    label[3]["data_samples"].set_gt_label(K)
    small[2]["inputs"] = torch.zeros(3, 8, 8, dtype=torch.uint8)
    yield nan, r"dogs/1.jpg: scores must be finite .*got nan at \(2, 3, 0\)"
    yield high, r"dogs/2.jpg: .* within the 7 classes \(0 to 6\), got class 7 at \(1, 4, 0\)"
    yield flat, r"dogs/3.jpg: view_affine must map to a positive area"
    yield low, r"dogs/0.jpg: log_norm must be the log-sum-exp"
    yield label, r"dogs/3.jpg: .*got label 7"
    yield small, r"dogs/2.jpg: image must be of one shape in a batch, got \(3, 8, 8\) and \(3, 16, 16\)"


@pytest.mark.parametrize(("wrong", "message"), list(broken()))
def test_a_wrong_number_is_reported_with_the_image_and_its_position(wrong, message):
    with pytest.raises(ValueError, match=message):
        collate_training_batch(wrong, K)


def test_without_num_classes_negative_classes_are_still_reported():
    wrong = samples()
    wrong[1]["data_samples"].score_map_classes[0, 0, 1] = -1
    with pytest.raises(ValueError, match=r"dogs/1.jpg: A class must be at least 0, got class -1 at \(0, 0, 1\)"):
        collate_training_batch(wrong)
