"""What does not fit together is said before the first step, with both sides of the mismatch named."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import HOOKS
from mmpretrain.registry import DATASETS
from torch.utils.data import ConcatDataset, DataLoader

from mmtl.score_maps import ScoreMap, ScoreMapWriter


@pytest.fixture
def root(tmp_path):
    """Two class folders of three images, and a store of score maps of six classes."""
    with ScoreMapWriter(tmp_path / "store", num_classes=6, grid_hw=(1, 1), topk=1) as writer:
        for label in "ab":
            (tmp_path / "images" / label).mkdir(parents=True)
            for index in range(3):
                cv2.imwrite(str(tmp_path / "images" / label / f"{index}.png"), np.zeros((4, 4, 3), np.uint8))
                one = np.ones((1, 1, 1))
                writer.add(f"{label}/{index}.png", ScoreMap(one.astype(np.float16), one.astype(np.uint16)))
    return tmp_path


def data_set(root, store=None, **arguments):
    load = dict(type="mmtl.LoadScoreMap", store=store and str(store), image_root=str(root / "images"))
    return DATASETS.build(
        dict(dict(type="CustomDataset", data_root=str(root / "images"), pipeline=[load]), **arguments)
    )


def check(dataset, num_classes=2, batch_size=2, world_size=1, sampler=DefaultSampler, val=None, beta=0.5):
    """Run the hook as a Runner would."""
    loader = DataLoader(dataset, batch_size=batch_size, sampler=sampler(dataset))
    head = SimpleNamespace(num_classes=num_classes, beta=beta, predict_weight=0.5)
    runner = SimpleNamespace(
        train_dataloader=loader,
        val_loop=val,
        val_dataloader=val and DataLoader(val),
        world_size=world_size,
        model=SimpleNamespace(head=head),
    )
    HOOKS.build(dict(type="mmtl.CheckInputsHook")).before_train(runner)


def test_data_that_fits_the_model_passes(root):
    check(data_set(root), num_classes=2)
    check(data_set(root, root / "store"), num_classes=6, batch_size=6)


@pytest.mark.parametrize(("batch_size", "world_size"), [(7, 1), (4, 2)])
def test_fewer_images_than_a_batch_are_refused(root, batch_size, world_size):
    with pytest.raises(ValueError, match=f"6 images, fewer than one batch of {batch_size} x {world_size} process"):
        check(data_set(root), batch_size=batch_size, world_size=world_size)
    check(data_set(root), batch_size=batch_size, sampler=InfiniteSampler)  # goes round the images again


def test_class_counts_of_head_and_score_maps_are_both_named(root):
    with pytest.raises(ValueError, match="store were made for 6 classes, the head has 5"):
        check(data_set(root, root / "store"), num_classes=5)
    with pytest.raises(ValueError, match="made for 6 classes, the head has 5"):  # inside a wrapper as well
        check(ConcatDataset([data_set(root), data_set(root, root / "store")]), num_classes=5)


def test_data_set_of_more_classes_than_the_head_is_refused(root):
    with pytest.raises(ValueError, match="data set has 2 classes, the head 1; set model.head.num_classes to 2"):
        check(data_set(root), num_classes=1)


@pytest.mark.parametrize("split", ["train", "val"])
def test_annotations_that_name_missing_files_are_refused(root, split):
    (root / "list.txt").write_text("a/0.png 0\na/9.png 0\nc/0.png 1\n")
    listed = data_set(root, ann_file=str(root / "list.txt"), classes=["a", "b"])
    with pytest.raises(
        FileNotFoundError, match=r"2 of the 3 images that .*list.txt names are missing, first .*a/9.png"
    ):
        check(*([listed] if split == "train" else [data_set(root)]), val=listed if split == "val" else None)
    (root / "list.txt").write_text("a/0.png 0\nb/0.png 1\n")
    check(data_set(root, ann_file=str(root / "list.txt"), classes=["a", "b"]))


def test_class_labels_alone_are_told_to_be_so(root, caplog, monkeypatch):
    lines = []
    monkeypatch.setattr("mmtl.hooks.check_inputs.print_log", lambda line, **_: lines.append(line))
    check(data_set(root))
    check(data_set(root), beta=0)
    check(data_set(root, root / "store"), num_classes=6)
    assert len(lines) == 2 and "model.head.beta=0" in lines[0] and "score maps of" in lines[1]
