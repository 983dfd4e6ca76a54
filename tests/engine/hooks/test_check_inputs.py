"""Data and model that do not fit together stop a run before its first step, with both sides of the mismatch named."""

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

from mmtl.models import TokenLabelDataPreprocessor
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


def make_dataset(root, store=None, load=None, steps=(), **arguments):
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
    """Return the part of a Runner that the hooks use."""
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
    check(make_dataset(root), num_classes=2)
    check(make_dataset(root, root / "store"), num_classes=6, batch_size=6)


@pytest.mark.parametrize(("batch_size", "world_size"), [(7, 1), (4, 2)])
def test_fewer_images_than_a_batch_are_refused(root, batch_size, world_size):
    with pytest.raises(
        ValueError, match=rf"one batch of {batch_size} x {world_size} ranks? = {batch_size * world_size} images, got 6"
    ):
        check(make_dataset(root), batch_size=batch_size, world_size=world_size)
    check(make_dataset(root), batch_size=batch_size, sampler=InfiniteSampler)  # fills a batch from several passes


def test_different_class_counts_of_head_and_score_maps_are_both_named(root):
    with pytest.raises(ValueError, match="store: model.head.num_classes must be 6, .* score maps, got 5"):
        check(make_dataset(root, root / "store"), num_classes=5)
    with pytest.raises(ValueError, match="must be 6, .* score maps, got 5"):  # also inside a wrapper
        check(ConcatDataset([make_dataset(root), make_dataset(root, root / "store")]), num_classes=5)


def test_classes_that_have_another_index_in_the_score_maps_are_named(root):
    def store_of(*names):
        path = root / "-".join(names)
        with ScoreMapWriter(
            path, num_classes=2, grid_hw=(1, 1), topk=1, annotator=dict(class_names=names, class_folders=None)
        ) as writer:
            writer.add("a/0.png", ScoreMap(np.ones((1, 1, 1)), np.ones((1, 1, 1), int)))
        return path

    check(make_dataset(root, store_of("a", "b")))
    check(make_dataset(root, store_of("c", "b")))  # unknown names are not compared
    with pytest.raises(ValueError, match="'a' is 0 in the dataset and 1 in the maps, 'b' is 1 .* and 0 .*--classes"):
        check(make_dataset(root, store_of("b", "a")))


def test_a_dataset_with_more_classes_than_the_head_is_refused(root):
    with pytest.raises(ValueError, match="model.head.num_classes must be at least 2, .* dataset, got 1"):
        check(make_dataset(root), num_classes=1)


@pytest.mark.parametrize("split", ["train", "val"])
def test_annotations_that_list_missing_files_are_refused(root, split):
    (root / "list.txt").write_text("a/0.png 0\na/9.png 0\nc/0.png 1\n")
    listed = make_dataset(root, ann_file=str(root / "list.txt"), classes=["a", "b"])
    with pytest.raises(FileNotFoundError, match=r"list.txt: 2 of 3 images do not exist, first .*a/9.png"):
        check(*([listed] if split == "train" else [make_dataset(root)]), val=listed if split == "val" else None)
    (root / "list.txt").write_text("a/0.png 0\nb/0.png 1\n")
    check(make_dataset(root, ann_file=str(root / "list.txt"), classes=["a", "b"]))


def test_the_log_reports_training_with_class_labels_only(root, monkeypatch):
    lines = []
    monkeypatch.setattr("mmtl.engine.hooks.check_inputs.print_log", lambda line, **_: lines.append(line))
    classes = [*"abcdef"]  # the class folders and the others of the score maps
    (root / "list.txt").write_text("a/0.png 0\na/1.png 0\n")
    check(make_dataset(root))
    check(make_dataset(root), beta=0)
    check(make_dataset(root, root / "store", ann_file=str(root / "list.txt"), classes=classes), num_classes=6)
    labels_only = "No score maps: training with class labels only."
    assert lines[0] == lines[2] == labels_only and len(lines) == 4
    assert "model.head.beta=0" in lines[1] and "token labels from the score maps of" in lines[3]


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
def test_transforms_that_move_pixels_without_the_score_map_are_refused(root, step, name):
    with pytest.raises(ValueError, match=f"^{name}.* would move the image.*[Uu]se the transforms of mmtl"):
        check(make_dataset(root, root / "store", steps=[step]), num_classes=6)
    check(make_dataset(root, steps=[step]))  # any transform works without score maps


def test_the_recipes_transforms_and_color_transforms_pass(root):
    steps = [
        dict(type="mmtl.RandomResizedCrop", scale=4),
        dict(type="mmtl.RandomFlip", prob=0.5),
        dict(type="mmtl.RandAugment", policies="timm_increasing", num_policies=2, magnitude_level=9),
        dict(type="mmtl.CenterCrop", crop_size=4),
        dict(type="ColorJitter", brightness=0.1),
        dict(type="mmtl.RandomErasing"),
    ]
    check(make_dataset(root, root / "store", steps=steps), num_classes=6)


def test_score_maps_that_match_no_image_are_refused_and_partial_coverage_is_logged(root, monkeypatch):
    lines = []
    monkeypatch.setattr("mmtl.engine.hooks.check_inputs.print_log", lambda line, *_, **__: lines.append(line))
    (root / "images/a/3.png").write_bytes((root / "images/a/0.png").read_bytes())
    check(make_dataset(root, root / "store", load=dict(missing="label_only")), num_classes=6)
    assert "6 of 7 images have a score map" in lines[0]
    elsewhere = dict(missing="label_only", image_root=str(root))
    with pytest.raises(ValueError, match=r"store: none of 7 images has a score map.*Set image_root="):
        check(make_dataset(root, root / "store", load=elsewhere), num_classes=6)


def test_maps_in_missing_shards_are_counted_and_names_stay_in_their_line(root, monkeypatch):
    """Guards: with ``label_only``, images whose shards are gone trained with class labels without a word."""
    lines = []
    monkeypatch.setattr("mmtl.engine.hooks.check_inputs.print_log", lambda line, *_, **__: lines.append(line))
    store = root / "st\n\x1b[2Jore"
    one = np.ones((1, 1, 1))
    with ScoreMapWriter(store, num_classes=6, grid_hw=(1, 1), topk=1, shard_bytes=8) as writer:
        for key in ("a/0.png", "a/1.png", "a/2.png", "b/0.png"):
            writer.add(key, ScoreMap(one.astype(np.float16), one.astype(np.uint16)))
    first, *others = sorted(store.glob("shard-*.bin"))
    assert others
    first.unlink()
    check(make_dataset(root, store, load=dict(missing="label_only")), num_classes=6)
    (text,) = (line for line in lines if "have a score map" in line)
    found = int(text.split()[0])
    assert 0 < found < 4 and f"{4 - found} maps of" in text and "are out of reach" in text
    assert text.isprintable()


def test_a_missing_store_is_reported_before_the_first_step(root):
    with pytest.raises(FileNotFoundError, match="gone.* does not exist"):
        check(make_dataset(root, root / "gone"), num_classes=6)


@pytest.mark.parametrize("label", [2, -1])
def test_annotations_with_unknown_classes_are_refused_with_file_and_image(root, label):
    (root / "list.txt").write_text(f"a/0.png 0\na/1.png {label}\n")
    listed = make_dataset(root, ann_file=str(root / "list.txt"), classes=["a", "b"])
    with pytest.raises(ValueError, match=rf"list.txt: class of '.*a/1.png' must be 0 to 1, .* got {label}\."):
        check(listed)


def test_a_validation_or_test_set_must_not_skip_images(root):
    skipping = make_dataset(root, steps=[dict(type="mmtl.LoadImageFromFile", unreadable="skip")])
    check(skipping)
    hook = HOOKS.build(dict(type="mmtl.CheckInputsHook"))
    for before in (hook.before_train, hook.before_test):
        with pytest.raises(ValueError, match="unreadable='skip' in the pipeline of a validation or test set"):
            before(run_of(make_dataset(root), val=skipping))


def test_draws_for_the_device_must_be_packed_and_applied(root):
    flip, pack = dict(type="mmtl.RandomFlip", prob=0.5, on_device=True), dict(type="mmtl.PackTokenLabelInputs")
    packed, dropped = (make_dataset(root, steps=[flip, step]) for step in (pack, dict(type="PackInputs")))
    hook = HOOKS.build(dict(type="mmtl.CheckInputsHook"))
    runs = {name: run_of(dataset) for name, dataset in (("packed", packed), ("dropped", dropped))}
    for run in runs.values():
        run.model.data_preprocessor = TokenLabelDataPreprocessor(num_classes=2)
    hook.before_train(runs["packed"])
    for run in (runs["dropped"], run_of(packed), run_of(make_dataset(root), val=packed)):
        with pytest.raises(ValueError, match="RandomFlip with on_device=True must be in a training pipeline"):
            hook.before_train(run)
    check(make_dataset(root, steps=[dict(flip, on_device=False), pack]))


def test_score_maps_none_reads_no_store_and_zeroes_the_patch_classifier(root, monkeypatch):
    lines = []
    monkeypatch.setattr("mmtl.engine.hooks.check_inputs.print_log", lambda line, *_, **__: lines.append(line))
    dataset = make_dataset(root, root / "gone")
    for cfg, is_zero in ((dict(), False), (dict(score_maps="gone"), False), (dict(score_maps=None), True)):
        run = run_of(dataset, cfg=cfg)
        HOOKS.build(dict(type="mmtl.WithoutScoreMapsHook")).before_train(run)
        assert (dataset.pipeline.transforms[0].store is None) == is_zero
        assert (not run.model.head.token_fc.weight.any()) == is_zero
    HOOKS.build(dict(type="mmtl.CheckInputsHook")).before_train(run)
    assert lines == ["No score maps: training with class labels only."], (
        "unexpected warning about an untrained classifier"
    )
