import numpy as np
import pytest
from helpers.score_map_makers import random_map, write_store

from mmtl.score_maps import ScoreMap, ScoreMapStore, ScoreMapWriter
from mmtl.score_maps.stats import cell_probabilities, entropy, pooled_class, sample_keys, store_stats


def full_map(logits):
    """A map with all classes, which loses nothing."""
    order = np.argsort(-logits, axis=-1)
    norm = np.log(np.exp(logits).sum(axis=-1))
    return ScoreMap(np.take_along_axis(logits, order, -1), order.astype(np.uint16), norm)


def test_probabilities_of_all_classes_are_the_softmax():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5))
    score_map = full_map(logits)
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.take_along_axis(softmax, score_map.classes.astype(int), -1)
    np.testing.assert_allclose(cell_probabilities(score_map, 5), expected)
    np.testing.assert_allclose(cell_probabilities(score_map._replace(log_norm=None), 5), expected)
    np.testing.assert_allclose(entropy(score_map, 5), -(softmax * np.log(softmax)).sum(-1).mean())
    assert pooled_class(score_map, 5) == softmax.mean(axis=(0, 1)).argmax()


def test_without_log_norm_absent_classes_have_logit_zero():
    score_map = ScoreMap(np.full((1, 1, 1), 9.0), np.zeros((1, 1, 1), int))
    assert cell_probabilities(score_map, 1000).item() == pytest.approx(np.exp(9) / (np.exp(9) + 999))


def test_stats_compare_with_the_class_folders(tmp_path):
    maps = {}
    with ScoreMapWriter(tmp_path / "s", num_classes=2, grid_hw=(1, 4), topk=2, log_norm=False) as writer:
        for key, firsts in {"ant/0.png": [0, 0, 0, 1], "ant/1.png": [1, 1, 1, 0], "bee/0.png": [1, 1, 1, 0]}.items():
            top1 = np.array(firsts).reshape(1, 4, 1)
            maps[key] = ScoreMap(np.full((1, 4, 2), [3.0, 1.0]), np.concatenate([top1, 1 - top1], axis=-1))
            writer.add(key, maps[key])
    store = ScoreMapStore(tmp_path / "s")
    numbers = store_stats(store, list(store))
    assert numbers.top1 == pytest.approx(2 / 3) and numbers.agreeing_cells == pytest.approx(7 / 12)
    assert numbers.confidence == pytest.approx(np.exp(3) / (np.exp(3) + np.exp(1)))


def test_folders_that_the_annotator_knows_by_name_give_a_top1(tmp_path):
    annotator = {"class_names": ["cat", "bee", "ant"]}
    with ScoreMapWriter(tmp_path / "s", num_classes=3, grid_hw=(1, 1), topk=1, annotator=annotator) as writer:
        for key, top1 in {"ant/0.png": 2, "ant/1.png": 0, "bee/0.png": 1, "wasp/0.png": 1}.items():
            writer.add(key, ScoreMap(np.full((1, 1, 1), 3.0), np.full((1, 1, 1), top1)))
    store = ScoreMapStore(tmp_path / "s")
    numbers = store_stats(store, list(store))
    assert (numbers.maps, numbers.labelled) == (4, 3) and numbers.top1 == pytest.approx(2 / 3)
    assert numbers.frequent == [(1, 0.5), (2, 0.25), (0, 0.25)]


def test_cells_in_which_all_classes_are_equal_have_no_frequent_class(tmp_path):
    with ScoreMapWriter(tmp_path / "s", num_classes=50, grid_hw=(1, 4), topk=2, log_norm=False) as writer:
        scores, classes = np.array([[[0, 0], [0, 0], [0, 0], [3, 0]]]), np.array([[[0, 1], [0, 1], [0, 1], [7, 0]]])
        writer.add("a/0.png", ScoreMap(scores.astype(np.float16), classes))
    store = ScoreMapStore(tmp_path / "s")
    assert store_stats(store, list(store)).frequent == [(7, 0.25)]


def test_without_a_known_class_folder_there_is_no_top1(tmp_path):
    write_store(tmp_path / "s", 3)
    assert store_stats(ScoreMapStore(tmp_path / "s"), ["a/0.png"]).top1 is None


def test_a_sample_contains_no_key_twice(tmp_path):
    write_store(tmp_path / "s", 9)
    keys = sample_keys(ScoreMapStore(tmp_path / "s"), 5)
    assert len(set(keys)) == 5 and keys == sorted(keys, key=lambda key: int(key[2:-4]))


def test_the_compact_format_changes_probabilities_by_little():
    from mmtl.score_maps.layout import RecordLayout

    layout = RecordLayout(1000, (18, 18), 5, score_bits=8)
    score_map = random_map(np.random.default_rng(0), (18, 18), 5, 1000)
    parts = (part[None] for part in score_map)
    compact = layout.decode(layout.encode(*parts).view("<u8").reshape(-1))
    spread = float(score_map.scores.max() - score_map.scores.min())
    difference = np.abs(cell_probabilities(compact, 1000) - cell_probabilities(score_map, 1000))
    assert difference.max() <= np.expm1(2 * spread / 510 + 0.02)
