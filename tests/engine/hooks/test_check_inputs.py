"""What does not fit together is said before the first step, with both sides of the mismatch named."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import HOOKS
from mmpretrain.registry import DATASETS
from torch import nn
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


def data_set(root, store=None, load=None, steps=(), **arguments):
    load = dict(
        dict(type="mmtl.LoadScoreMap", store=store and str(store), image_root=str(root / "images")), **load or {}
    )
    return DATASETS.build(
        dict(dict(type="CustomDataset", data_root=str(root / "images"), pipeline=[load, *steps]), **arguments)
    )


def check(dataset, num_classes=2, batch_size=2, world_size=1, sampler=DefaultSampler, val=None, beta=0.5):
    """Run the hook as a Runner would."""
    hook = HOOKS.build(dict(type="mmtl.CheckInputsHook"))
    hook.before_train(run_of(dataset, num_classes, batch_size, world_size, sampler, val, beta))


def run_of(dataset, num_classes=2, batch_size=2, world_size=1, sampler=DefaultSampler, val=None, beta=0.5, cfg=None):
    """What the hooks see of a Runner."""
    head = SimpleNamespace(num_classes=num_classes, beta=beta, predict_weight=0.5, token_fc=nn.Linear(3, num_classes))
    return SimpleNamespace(
        train_dataloader=DataLoader(dataset, batch_size=batch_size, sampler=sampler(dataset)),
        val_loop=val,
        val_dataloader=val and DataLoader(val),
        test_dataloader=val and DataLoader(val),
        world_size=world_size,
        model=SimpleNamespace(head=head),
        cfg=Config(cfg or {}),
    )


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
    monkeypatch.setattr("mmtl.engine.hooks.check_inputs.print_log", lambda line, **_: lines.append(line))
    check(data_set(root))
    check(data_set(root), beta=0)
    check(data_set(root, root / "store"), num_classes=6)
    alone = "No score maps: training on class labels alone"
    assert lines[0] == lines[2] == alone and len(lines) == 4
    assert "model.head.beta=0" in lines[1] and "score maps of" in lines[3]


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (dict(type="RandomResizedCrop", scale=4), "RandomResizedCrop"),
        (dict(type="RandomCrop", crop_size=4, padding=1), "RandomCrop"),
        (dict(type="Rotate", angle=10.0), "Rotate"),
        (dict(type="torchvision/RandomAffine", degrees=10), "RandomAffine"),
        (dict(type="RandAugment", policies="timm_increasing", num_policies=2, magnitude_level=9), "Rotate, Shear, Tr"),
        (dict(type="AutoAugment", policies="imagenet"), "Rotate, Shear"),
        (dict(type="RandomApply", transforms=[dict(type="RandomFlip", prob=0.5)]), "RandomFlip"),
    ],
)
def test_transforms_that_would_leave_the_score_map_behind_are_refused(root, step, name):
    with pytest.raises(ValueError, match=f"^{name}.* would move the image.*use the transforms of mmtl"):
        check(data_set(root, root / "store", steps=[step]), num_classes=6)
    check(data_set(root, steps=[step]))  # without score maps everything goes


def test_the_recipes_transforms_and_those_of_colour_pass(root):
    steps = [
        dict(type="mmtl.RandomResizedCrop", scale=4),
        dict(type="mmtl.RandomFlip", prob=0.5),
        dict(type="mmtl.RandAugment", policies="timm_increasing", num_policies=2, magnitude_level=9),
        dict(type="mmtl.CenterCrop", crop_size=4),
        dict(type="ColorJitter", brightness=0.1),
        dict(type="mmtl.RandomErasing"),
    ]
    check(data_set(root, root / "store", steps=steps), num_classes=6)


def test_score_maps_of_none_of_the_images_are_refused_and_of_some_counted(root, monkeypatch):
    lines = []
    monkeypatch.setattr("mmtl.engine.hooks.check_inputs.print_log", lambda line, *_, **__: lines.append(line))
    (root / "images/a/3.png").write_bytes((root / "images/a/0.png").read_bytes())
    check(data_set(root, root / "store", load=dict(missing="label_only")), num_classes=6)
    assert "6 of 7 images looked up have a score map" in lines[0]
    elsewhere = dict(missing="label_only", image_root=str(root))
    with pytest.raises(ValueError, match=r"none of 7 images has a map in .*store.*check image_root="):
        check(data_set(root, root / "store", load=elsewhere), num_classes=6)


def test_a_missing_store_is_named_before_the_first_step(root):
    with pytest.raises(FileNotFoundError, match="gone' does not exist; make it with"):
        check(data_set(root, root / "gone"), num_classes=6)


@pytest.mark.parametrize("label", [2, -1])
def test_annotations_of_unknown_classes_are_refused_with_file_and_image(root, label):
    (root / "list.txt").write_text(f"a/0.png 0\na/1.png {label}\n")
    listed = data_set(root, ann_file=str(root / "list.txt"), classes=["a", "b"])
    with pytest.raises(ValueError, match=rf"list.txt gives '.*a/1.png' the class {label}, .* classes 0 to 1"):
        check(listed)


def test_a_set_that_is_measured_on_may_not_skip_images(root):
    skipping = data_set(root, steps=[dict(type="mmtl.LoadImageFromFile", unreadable="skip")])
    check(skipping)
    hook = HOOKS.build(dict(type="mmtl.CheckInputsHook"))
    for before in (hook.before_train, hook.before_test):
        with pytest.raises(ValueError, match="unreadable='skip' in the pipeline of a validation or test set"):
            before(run_of(data_set(root), val=skipping))


def test_score_maps_none_reads_no_store_and_leaves_the_patch_classifier_out(root, monkeypatch):
    lines = []
    monkeypatch.setattr("mmtl.engine.hooks.check_inputs.print_log", lambda line, *_, **__: lines.append(line))
    dataset = data_set(root, root / "gone")
    for cfg, is_zero in ((dict(), False), (dict(score_maps="gone"), False), (dict(score_maps=None), True)):
        run = run_of(dataset, cfg=cfg)
        HOOKS.build(dict(type="mmtl.WithoutScoreMapsHook")).before_train(run)
        assert (dataset.pipeline.transforms[0].store is None) == is_zero
        assert (not run.model.head.token_fc.weight.any()) == is_zero
    HOOKS.build(dict(type="mmtl.CheckInputsHook")).before_train(run)
    assert lines == ["No score maps: training on class labels alone"], "no warning of an untrained classifier"
