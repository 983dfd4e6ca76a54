import numpy as np
import pytest
from helpers.score_map_makers import contents, random_map, write_store

from mmtl.score_maps import ScoreMap, ScoreMapStore, ScoreMapStoreError, ScoreMapWriter
from mmtl.score_maps.class_subset import ClassSubset, read_classes
from mmtl.score_maps.class_table import ClassTable
from mmtl.score_maps.select import select_store
from mmtl.score_maps.stats import cell_probabilities, store_stats

NAMES = ["tench, Tinca tinca", "tiger shark", "great white shark, white shark", "crane", "crane", "sea snake"]
TABLE = ClassTable(6, NAMES, [f"n0{index}" for index in range(6)])


def read(tmp_path, text, table=TABLE):
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8")
    return read_classes(tmp_path / "classes.txt", table)


def test_a_class_is_listed_by_name_folder_or_index_in_the_files_order(tmp_path):
    subset = read(tmp_path, "\ufeff# fish\nn05\n\nwhite shark\n  0 \r\nn03\n")
    assert subset.indices == [[5], [2], [0], [3]] and subset.folders == ["n05", "n02", "n00", "n03"]
    assert subset.names == [NAMES[5], NAMES[2], NAMES[0], NAMES[3]] and subset.num_classes == 6


@pytest.mark.parametrize(
    "text",
    [
        "tiger shark\tshark\nn02\tshark\nsea snake\n",
        "tiger shark shark\n2 shark\nsea snake\n",
        "1 shark\ngreat white shark shark\n5",
    ],
)
def test_classes_with_the_same_target_become_one(tmp_path, text):
    subset = read(tmp_path, text)
    assert subset.indices == [[1, 2], [5]] and subset.names == ["shark", "sea snake"]
    assert subset.folders == ["shark", "n05"]


def test_a_target_that_is_a_class_has_its_name_and_numbers_are_new_indices(tmp_path):
    assert read(tmp_path, "1 n02\n2\n").folders == read(tmp_path, "2\n1\tgreat_white_shark").folders == ["n02"]
    subset = read(tmp_path, "n05 1\ntiger shark 0\nwhite shark 0\n")
    assert subset.indices == [[1, 2], [5]] and subset.names == ["0", "sea snake"] and subset.folders == ["0", "n05"]


def test_without_names_classes_are_indices_or_the_class_folders(tmp_path):
    assert read(tmp_path, "4\n2", ClassTable(6)).names == ["4", "2"]
    subset = read(tmp_path, "bee\n0", ClassTable.of({}, 3, ["ant", "bee", "cat"]))
    assert subset.indices == [[1], [0]] and subset.folders == ["bee", "ant"]


def test_comments_end_at_the_line_and_begin_after_a_space(tmp_path):
    assert read(tmp_path, "n00 # my fish\n2\t# n01\nn01 fish#1 # x\n").names == [NAMES[0], NAMES[2], "fish#1"]


def test_a_file_of_another_encoding_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"n00\ncaf\xe9\n")
    with pytest.raises(ValueError, match="latin.txt must be a text file in UTF-8, got byte 0xe9"):
        read_classes(tmp_path / "latin.txt", TABLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n00\nshark\n", r"line 2: 'shark' must be the name or the folder name or the index of one of .* 6 classes"),
        ("6\n", "line 1: '6' must be"),
        ("-1\n", "line 1: '-1' must be"),
        ("shark\ttench\n", "line 1: 'shark' must be"),
        ("crane\n", "line 1: 'crane' must be one class, got the classes 3 and 4. Give the index"),
        ("n00\ntench\n", "line 2: 'tench' names the class of line 1 again"),
        ("1 0\n2 2\n", "targets that are numbers must be 0 to n - 1, got 0, 2"),
        ("# nothing\n", "must list at least one class"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_selected_maps_are_those_of_the_listed_classes_with_summed_probabilities():
    logits = np.random.default_rng(0).normal(2, 2, (2, 3, 4, 6)).astype(np.float32)
    order = np.argsort(-logits, axis=-1)
    full = ScoreMap(np.take_along_axis(logits, order, -1), order)
    selected, kept = ClassSubset(6, [[4], [1, 2], [0]], ["a", "b", "c"]).select(full)
    expected = np.stack([logits[..., 4], np.logaddexp(logits[..., 1], logits[..., 2]), logits[..., 0]], -1)
    assert kept.all() and selected.log_norm is None and selected.scores.dtype == np.float16
    assert (np.diff(selected.scores.astype(float), axis=-1) <= 0).all()
    np.testing.assert_allclose(selected.scores, np.take_along_axis(expected, selected.classes, -1), rtol=2e-3)


def test_classes_that_are_not_listed_have_logit_zero_and_cells_without_any_are_counted():
    score_map = ScoreMap(np.array([[[5.0, -1.0]], [[5.0, 4.0]]]), np.array([[[0, 3]], [[1, 2]]]))
    selected, kept = ClassSubset(6, [[5], [4], [3]], ["a", "b", "c"]).select(score_map)
    assert kept.ravel().tolist() == [True, False]
    assert selected.scores.tolist() == [[[0, -1]], [[0, 0]]] and selected.classes.tolist() == [[[0, 2]], [[0, 1]]]


@pytest.fixture
def store(tmp_path):
    write_store(tmp_path / "s", 12, shard_bytes=600, num_classes=10)
    return tmp_path / "s"


SUBSET = ClassSubset(10, [[7], [1, 2], [0]], ["h", "bc", "a"])


def test_a_selected_store_has_the_selected_maps_and_records_its_classes(store, tmp_path):
    lost = select_store(store, tmp_path / "t", SUBSET)
    selected, source = ScoreMapStore(tmp_path / "t"), ScoreMapStore(store)
    assert list(selected) == list(source) and selected.verify() == [] and selected.num_classes == 3
    masks = []
    for key in source:
        expected, kept = SUBSET.select(source[key])
        masks.append(kept)
        np.testing.assert_array_equal(selected[key].classes, expected.classes)
        np.testing.assert_array_equal(selected[key].scores, expected.scores)
    assert lost == pytest.approx(1 - np.mean(masks)) and 0 < lost < 1
    assert selected.annotator["class_names"] == ["h", "bc", "a"]
    assert selected.annotator["class_indices"] == [[7], [1, 2], [0]]
    assert store_stats(selected, list(selected)).maps == 12
    select_store(tmp_path / "t", tmp_path / "u", ClassSubset(3, [[1], [0, 2]], ["bc", "ha"]))
    assert ScoreMapStore(tmp_path / "u").annotator["class_indices"] == [[1, 2], [7, 0]]


@pytest.mark.parametrize("score_bits", [8, 16])
def test_a_store_of_all_classes_keeps_the_probabilities_of_the_selected_ones(tmp_path, score_bits):
    """Guards: log_norm, which tail='probability' needs, was left out even if nothing is lost."""
    maps = write_store(tmp_path / "s", 3, topk=10, score_bits=score_bits)
    assert select_store(tmp_path / "s", tmp_path / "t", SUBSET) == 0
    selected = ScoreMapStore(tmp_path / "t")
    for key, source in maps.items():
        logits = np.take_along_axis(source.scores, np.argsort(source.classes, -1), -1).astype(np.float64)
        new = np.stack([logits[..., 7], np.logaddexp(logits[..., 1], logits[..., 2]), logits[..., 0]], -1)
        expected = np.exp(new - np.logaddexp.reduce(new, -1, keepdims=True))
        found = np.take_along_axis(cell_probabilities(selected[key], 3), np.argsort(selected[key].classes, -1), -1)
        np.testing.assert_allclose(found, expected, atol=1e-2 if score_bits == 16 else 0.1)
    select_store(tmp_path / "t", tmp_path / "u", ClassSubset(3, [[2], [0]], ["a", "h"]))
    assert ScoreMapStore(tmp_path / "u").has_log_norm


def test_cells_that_an_earlier_selection_has_filled_count_as_lost(store, tmp_path):
    """Guards: the classes of filled cells counted as listed, and a second selection seemed to lose nothing."""
    lost = select_store(store, tmp_path / "direct", ClassSubset(10, [[3]], ["d"]))
    select_store(store, tmp_path / "t", ClassSubset(10, [[3], [4], [5]], ["d", "e", "f"]))
    assert select_store(tmp_path / "t", tmp_path / "u", ClassSubset(3, [[0]], ["d"])) == lost > 0.5


def test_filled_logits_give_no_log_norm_when_a_selection_is_selected_from(store, tmp_path):
    select_store(store, tmp_path / "t", ClassSubset(10, [[3], [4]], ["d", "e"]))
    select_store(tmp_path / "t", tmp_path / "u", ClassSubset(2, [[1]], ["e"]))
    assert not ScoreMapStore(tmp_path / "t").has_log_norm and not ScoreMapStore(tmp_path / "u").has_log_norm


def test_a_killed_selection_is_completed_by_the_same_call_and_refused_by_others(store, tmp_path, monkeypatch):
    expected = select_store(store, tmp_path / "t", SUBSET)
    calls, select = [], ClassSubset.select

    def fail_at_the_third_shard(self, score_map):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return select(self, score_map)

    monkeypatch.setattr(ClassSubset, "select", fail_at_the_third_shard)
    with pytest.raises(KeyboardInterrupt):
        select_store(store, tmp_path / "u", SUBSET)
    assert sorted(path.name for path in (tmp_path / "u").iterdir()) == ["shard-00000.bin", "shard-00001.bin"]
    with pytest.raises(ScoreMapStoreError, match="class_indices"):
        select_store(store, tmp_path / "u", ClassSubset(10, [[7], [1, 3], [0]], ["h", "bc", "a"]))
    assert select_store(store, tmp_path / "u", SUBSET) == expected
    assert contents(tmp_path / "u") == contents(tmp_path / "t")
    count = len(calls)
    assert select_store(store, tmp_path / "u", SUBSET) == expected and len(calls) == count


def test_a_corrupt_record_stops_a_selection_and_leaves_nothing(tmp_path):
    with ScoreMapWriter(tmp_path / "s", num_classes=10, grid_hw=(3, 5), topk=2) as writer:
        writer.add("a/0.png", random_map(np.random.default_rng(0)))
    shard = tmp_path / "s" / "shard-00000.bin"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ScoreMapStoreError, match="shard-00000.bin: record 0 is corrupt"):
        select_store(tmp_path / "s", tmp_path / "t", SUBSET)
    assert not (tmp_path / "t").exists()
