"""A store is compared with its annotator."""

import shutil

import numpy as np
import pytest
import torch
from helpers.made_stores import make
from helpers.score_map_makers import tiny_annotator

from mmtl.annotators.compare import compare_store
from mmtl.score_maps import ScoreMapStore


def test_a_store_is_compared_with_the_annotators_present_output(images, tmp_path):
    make(images, tmp_path / "s")
    store = ScoreMapStore(tmp_path / "s")
    same = compare_store(store, tiny_annotator(), images, list(store))
    assert same.probability_difference < 1e-3 and same.class_mismatch == 0
    other = tiny_annotator()
    torch.nn.init.normal_(other.dense.head.fc.weight)
    assert compare_store(store, other, images, list(store)).probability_difference > 0.01


def test_a_store_with_a_tenth_of_other_images_is_not_that_of_the_annotator(images, tmp_path):
    """Guards: only the mean over all maps was compared."""
    make(images, tmp_path / "s")
    store = ScoreMapStore(tmp_path / "s")
    shutil.copyfile(images / "cat" / "4.png", images / "ant" / "3.png")
    by_key = compare_store(store, tiny_annotator(), images, list(store)).by_key
    worst, *others = by_key.items()
    assert worst[0] == "ant/3.png" and worst[1] > 0.01 and all(value < 1e-3 for _, value in others)


def test_maps_that_are_not_numbers_differ_and_a_missing_image_is_named(images, tmp_path):
    """Guards: NaN, as of an overflow in float16, is not larger than the tolerance."""
    make(images, tmp_path / "s")
    store, annotator = ScoreMapStore(tmp_path / "s"), tiny_annotator()
    torch.nn.init.constant_(annotator.dense.head.fc.bias, torch.nan)
    found = compare_store(store, annotator, images, list(store))
    assert min(found.by_key.values()) == found.probability_difference == np.inf
    (images / "bee" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"bee/1.png is missing"):
        compare_store(store, tiny_annotator(), images, list(store))
