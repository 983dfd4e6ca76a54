"""Before the first step: what patch tokens learn from is said once, and an annotator that cannot work is refused."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.online_annotators import student, write_cnn
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from mmtl.datasets.dataset_parts import transforms_of

RAND_AUGMENT = dict(type="mmtl.RandAugment", policies="timm_increasing", num_policies=2, magnitude_level=9,
                    total_level=10, hparams=dict(pad_val=[0, 0, 0], interpolation="bicubic"))  # fmt: skip
TURN = dict(
    RAND_AUGMENT, policies=[dict(type="Rotate", magnitude_key="angle", magnitude_range=(0, 30))], num_policies=1
)
ERASE = dict(type="mmtl.RandomErasing", erase_prob=0.5)
PACK = dict(type="mmtl.PackTokenLabelInputs", data_sample=False)


@pytest.fixture
def images(tmp_path):
    for name in "abc":
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(2):
            cv2.imwrite(str(tmp_path / "images" / name / f"{index}.png"), np.zeros((32, 32, 3), np.uint8))
    return tmp_path / "images"


def check(images, annotator, steps=(), store=None, lines=None, head=None, monkeypatch=None, **cfg):
    """Run the two hooks of the recipes, and return the dataset and the model."""
    steps = [dict(type="mmtl.LoadScoreMap", store=store), *steps, PACK]
    dataset = DATASETS.build(dict(type="CustomDataset", data_root=str(images), pipeline=steps))
    model = student(annotator, 3)
    for name, value in (head or {}).items():
        setattr(model.head, name, value)
    loader = DataLoader(dataset, batch_size=2)
    runner = SimpleNamespace(train_dataloader=loader, val_loop=None, world_size=1, model=model, cfg=Config(cfg))
    if lines is not None:
        for module in ("without_score_maps", "check_inputs"):
            monkeypatch.setattr(f"mmtl.engine.hooks.{module}.print_log", lambda line, **_: lines.append(line))
    for kind in ("WithoutScoreMapsHook", "CheckInputsHook"):
        HOOKS.build(dict(type=f"mmtl.{kind}")).before_train(runner)
    return dataset, model


@pytest.fixture
def annotator(tmp_path):
    return dict(model=write_cnn(tmp_path, size=32), checkpoint="random", dtype="float32")


def test_the_annotator_replaces_a_store_that_need_not_exist_and_the_log_says_so_once(images, annotator, monkeypatch):
    lines = []
    dataset, model = check(images, annotator, store="no/store", lines=lines, monkeypatch=monkeypatch)
    assert model.data_preprocessor._annotator is not None
    assert transforms_of(dataset)[0].store is None and model.head.token_fc.weight.any()
    learns = f"Patch tokens learn from model.annotator ({annotator['model']})"
    assert lines == [f"{learns}: score maps of no/store are not loaded.", f"{learns}."]


def test_without_a_store_nothing_else_is_said(images, annotator, monkeypatch):
    lines = []
    _, model = check(images, annotator, lines=lines, monkeypatch=monkeypatch, score_maps=None)
    assert len(lines) == 1 and model.head.token_fc.weight.any()


def test_a_labeler_of_phase_1_needs_no_store_and_keeps_its_patch_classifier(images, monkeypatch):
    lines, head = [], dict(patch_target="label")
    arguments = dict(store="no/store", lines=lines, monkeypatch=monkeypatch, score_maps=None)
    _, model = check(images, None, head=head, **arguments)
    assert model.head.token_fc.weight.any()
    assert all("learn from the class label (model.head.patch_target='label')" in line for line in lines)
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        ([RAND_AUGMENT], "AutoContrast, Brightness.* must run on the device"),
        ([ERASE], "RandomErasing must run on the device"),
        ([dict(type="ColorJitter", brightness=0.4)], "ColorJitter must"),
        ([dict(type="RandomApply", transforms=[dict(type="RandomGrayscale")], prob=0.5)], "RandomGrayscale must"),
        ([dict(type="torchvision/RandomInvert")], "RandomInvert must"),
        ([dict(type="AutoAugment", policies="imagenet")], "Solarize.* must"),
    ],
)
def test_colors_that_change_in_the_worker_are_refused(images, annotator, steps, names):
    with pytest.raises(ValueError, match=names):
        check(images, annotator, steps)


def test_crops_flips_and_turns_in_the_worker_and_anything_on_the_device_pass(images, annotator):
    crop = dict(type="mmtl.RandomResizedCrop", scale=32)
    flip = dict(type="mmtl.RandomFlip", prob=0.5, direction="horizontal")
    on_device = [dict(RAND_AUGMENT, on_device=True), dict(ERASE, on_device=True)]
    check(images, annotator, [crop, flip, TURN, *on_device])


def test_settings_that_contradict_an_annotator_are_named(images, annotator, tmp_path):
    with pytest.raises(ValueError, match="patch_target='map', got 'label'"):
        check(images, annotator, head=dict(patch_target="label"))
    with pytest.raises(ValueError, match="must have the 3 classes of model.head, got 5.*--classes"):
        check(images, dict(annotator, model=write_cnn(tmp_path, classes=5, size=32)))
    with pytest.raises(ValueError, match="model.annotator must be options with a model"):
        check(images, dict(checkpoint="random"))
    (tmp_path / "order.txt").write_text("0\tb\n1\ta\n2\tc\n")
    with pytest.raises(ValueError, match="'a' is 0 in the dataset and 1 in the maps"):
        check(images, dict(annotator, classes=str(tmp_path / "order.txt")))
