import numpy as np
import pytest
import torch
from helpers.ramp_samples import ramp_sample
from mmcv.transforms import Compose
from mmpretrain.registry import TRANSFORMS

from mmtl.models import collate_training_batch

PACK = dict(type="mmtl.PackTokenLabelInputs")
UNTRACKED_CROP = dict(type="RandomCrop", crop_size=20)
FLIP, RESIZE = dict(type="mmtl.RandomFlip", prob=1.0), dict(type="mmtl.Resize", scale=(32, 32))


def run(*configs, sample=None):
    return Compose([TRANSFORMS.build(config) for config in configs])(sample or ramp_sample((40, 50)))


def test_fields_are_the_score_map_and_the_view():
    sample = ramp_sample((40, 50))
    sample["score_map"] = sample["score_map"]._replace(log_norm=np.ones((3, 4), np.float16))
    sample["score_map"].classes.flags.writeable = False  # a memory map is read-only
    packed = run(dict(type="mmtl.RandomFlip", prob=1.0), PACK, sample=sample)
    data = packed["data_samples"]
    assert packed["inputs"].dtype == torch.uint8 and packed["inputs"].shape == (3, 40, 50)
    assert data.score_map_scores.dtype == torch.float16 and data.score_map_classes.dtype == torch.int32
    assert data.score_map_log_norm.dtype == torch.float16 and data.view_affine.dtype == torch.float32
    assert data.gt_label.tolist() == [1] and data.img_path == "images/a/b.png"
    np.testing.assert_array_equal(data.score_map_classes[..., 0].numpy(), np.arange(12).reshape(3, 4))
    np.testing.assert_allclose(data.view_affine.numpy(), [[-1, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize("log_norm", [None, np.full((3, 4), 10, np.float16)])
def test_batch_is_the_same_with_and_without_data_samples(log_norm):
    turn = dict(type="mmtl.Rotate", angle=30.0, prob=1.0)
    erase = [dict(type="mmtl.RandomErasing", erase_prob=1.0, mask_labels=True, on_device=True)]
    batches = []
    for data_sample in (True, False):
        np.random.seed(0)
        sample = ramp_sample((40, 50))
        sample["score_map"] = sample["score_map"]._replace(log_norm=log_norm)
        packed = run(turn, *erase, dict(PACK, data_sample=data_sample), sample=sample)
        assert ("data_samples" in packed) == data_sample
        batches.append(collate_training_batch([packed]))
    assert len(batches[0]) == 8 + (log_norm is not None)
    torch.testing.assert_close(*batches, rtol=0, atol=0)


def test_sample_that_never_moved_shows_its_complete_image():
    np.testing.assert_array_equal(run(PACK)["data_samples"].view_affine.numpy(), np.eye(2, 3))


def test_sample_without_a_score_map_is_packed_as_mmpretrain_packs_it():
    samples = [ramp_sample((40, 50)) for _ in range(2)]
    for sample in samples:
        del sample["score_map"]
    ours = run(dict(type="RandomCrop", crop_size=20), PACK, sample=samples[0])["data_samples"]
    theirs = run(dict(type="RandomCrop", crop_size=20), dict(type="PackInputs"), sample=samples[1])["data_samples"]
    assert ours.keys() == theirs.keys() and ours.metainfo_keys() == theirs.metainfo_keys()


@pytest.mark.parametrize(
    "before, after",
    [
        ([], []),
        ([dict(type="mmtl.RandomFlip", prob=1.0)], []),
        ([], [dict(type="mmtl.Resize", scale=(32, 32))]),
    ],
    ids=["only", "after ours", "before ours"],
)
def test_untracked_crop_is_an_error_that_names_the_remedy(before, after):
    with pytest.raises(
        ValueError, match=r"a/b.png: .*from \(40, 50\) to \(20, 20\) pixels.*Use the transforms of mmtl"
    ):
        run(*before, UNTRACKED_CROP, *after, PACK)


@pytest.mark.parametrize("prob", [0.0, 1.0], ids=["that did not flip", "that flipped"])
def test_untracked_flip_is_an_error_at_the_first_sample(prob):
    with pytest.raises(ValueError, match="RandomFlip that does not update view_affine"):
        run(dict(type="RandomFlip", prob=prob), PACK)


def test_untracked_flip_after_ours_is_an_error():
    with pytest.raises(ValueError, match="RandomFlip"):
        run(dict(type="mmtl.RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0), PACK)


def test_tracked_chain_packs_the_image_and_its_view():
    packed = run(
        dict(type="mmtl.Resize", scale=(64, 48)),
        dict(type="mmtl.RandomFlip", prob=0.5, direction=["horizontal", "vertical"]),
        dict(type="mmtl.CenterCrop", crop_size=32),
        dict(type="ColorJitter", brightness=0.4, contrast=0.4),
        PACK,
    )
    scale = packed["data_samples"].view_affine[:, :2].diag().abs()  # 32 of 64 columns, 32 of 48 rows
    assert packed["inputs"].shape == (3, 32, 32)
    np.testing.assert_allclose(scale, [32 / 64, 32 / 48], rtol=1e-6)
