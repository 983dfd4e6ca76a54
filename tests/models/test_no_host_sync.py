"""A training iteration reads no number on the host: nothing in it waits for the device."""

import numpy as np
import pytest
import torch
from helpers.dispatch import Operators
from helpers.online_annotators import student, write_cnn
from mmpretrain.registry import MODELS
from test_collate import samples, without_draws

from mmtl.models.collate import collate_training_batch
from mmtl.utils.augment_draws import Operation, make_draw

# Operators whose result, or its shape, depends on numbers on the device.
WAITING = (
    "_local_scalar_dense",
    "item",
    "nonzero",
    "masked_select",
    "unique",
    "equal",
    "is_nonzero",
    "repeat_interleave.Tensor",
)
NANO = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24, stem_channels=4, residual_divisor=2)
RECIPES = dict(
    plain=(dict(), dict()),
    some_maps_missing=(dict(without_map=(1,)), dict(outside="ignore")),
    padded=(dict(padded=(0, 3)), dict(class_target="both", tail="probability")),
    hard_labels=(dict(), dict(label_form="hard", min_confidence=0.3)),
    sampled_labels=(dict(), dict(label_form="gumbel", tail="probability", min_confidence=0.3)),
    labels_only=(dict(without_map=range(4)), dict()),
)


def waits(name: str, args: tuple) -> bool:
    """Whether an operator waits for the device, also as indexing by a mask."""
    masked = name.startswith(("index.", "index_put")) and any(
        isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
    )
    return masked or any(name.startswith(prefix) for prefix in WAITING)


def iteration(fields: dict, options: dict, augment: str, device: str) -> Operators:
    np.random.seed(0)
    model = MODELS.build(
        dict(
            type="mmtl.TokenLabelClassifier",
            backbone=dict(type="mmtl.LVViT", arch=NANO, img_size=16, patch_size=4, drop_path_rate=[0.05, 0.3]),
            head=dict(type="mmtl.TokenLabelHead", num_classes=7, in_channels=12),
            data_preprocessor=dict(
                smoothing=0.1,
                mean=[1, 2, 3],
                std=[4, 5, 6],
                batch_augments=dict(augments=[dict(type=augment)]),
                **options,
            ),
        )
    )
    model = model.to(device).train()
    batch = collate_training_batch(without_draws(samples(**fields)), 7)
    with Operators() as operators:
        losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
        (losses["loss_cls"] + losses["loss_token"]).backward()
    assert sum(parameter.grad is not None for parameter in model.parameters()) > 20
    return operators


@pytest.mark.parametrize("augment", ["mmtl.MixToken", "mmtl.CutMix"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_training_iteration_reads_nothing_on_the_host(recipe, device, augment):
    fields, options = RECIPES[recipe]
    operators = iteration(fields, options, augment, device)
    assert len(operators.calls) > 100
    assert not [name for name, args in operators.calls if waits(name, args)]
    assert not operators.mixing_devices()


@pytest.mark.parametrize("topk", [None, 2])
def test_an_online_annotator_reads_nothing_on_the_host(topk, tmp_path):
    model = student(dict(model=write_cnn(tmp_path, size=32), checkpoint="random", topk=topk))
    model.data_preprocessor.load_annotator()
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    draw = make_draw(Operation.WARP_BILINEAR, affine=[[1, 0.1, 0], [0, 1, 0]])
    batch = dict(inputs=images, labels=torch.tensor([0, 1]), augment=torch.from_numpy(draw).repeat(2, 1, 1))
    with Operators() as operators:
        model.data_preprocessor(batch, training=True)
    assert len(operators.calls) > 100
    assert not [name for name, args in operators.calls if waits(name, args)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_training_iteration_does_not_wait_for_the_gpu(recipe):
    fields, options = RECIPES[recipe]
    torch.cuda.set_sync_debug_mode("error")
    try:
        iteration(fields, options, "mmtl.MixToken", "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_check_itself_finds_what_waits():
    mask, x = torch.tensor([True, False]), torch.tensor([1.0, 2.0])
    for wait in (lambda: x[mask], lambda: x.sum().item(), lambda: mask.nonzero(), lambda: bool(mask.any())):
        with Operators() as operators:
            wait()
        assert any(waits(name, args) for name, args in operators.calls)
    with Operators() as operators:
        torch.ones(2, device="meta")[torch.tensor([0])]
    assert operators.mixing_devices() == ["index.Tensor"]


@pytest.mark.parametrize("without_map", [(), (1,)])
def test_a_batch_of_the_recipe_without_colors_and_erasing_is_prepared_by_at_most_eighty_operators(without_map):
    found = samples(batch=4, without_map=without_map)
    for index, sample in enumerate(found):
        del sample["data_samples"].erased_boxes_xyxy
        flip = make_draw(Operation.FLIP_HORIZONTAL if index % 2 else Operation.IDENTITY)
        sample["data_samples"].set_field(torch.from_numpy(flip)[None], "augment")
    preprocessor = MODELS.build(
        dict(
            type="mmtl.TokenLabelDataPreprocessor",
            num_classes=60,
            token_stride=4,
            smoothing=0.1,
            mean=[1.0, 2.0, 3.0],
            std=[4.0, 5.0, 6.0],
            to_rgb=True,
            batch_augments=dict(augments=[dict(type="mmtl.MixToken")]),
        )
    )
    batch = collate_training_batch(found)  # by the worker
    with Operators() as operators:
        preprocessor(batch, training=True)
    assert len(operators.calls) <= 80
