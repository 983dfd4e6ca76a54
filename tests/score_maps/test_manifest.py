import json

import pytest
from helpers.score_map_makers import write_store

from mmtl.score_maps import ScoreMapStore, ScoreMapStoreError
from mmtl.score_maps.manifest import setting_difference


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1, "b": 2}, {"a": 1}, "b (2 / None)"),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 3, "d": 2}}}, "a.b.c (1 / 3)"),
        ({"a": "x" * 200 + "1"}, {"a": "x" * 200 + "2"}, f"a (...{'x' * 20}1 / ...{'x' * 20}2)"),
    ],
)
def test_a_difference_shows_the_part_that_differs(old, new, expected):
    """Guards: both values were cut at 77 characters, where they were often equal."""
    assert setting_difference(old, new) == expected


@pytest.mark.parametrize(
    "annotator",
    [
        {"class_names": 5},
        {"class_names": "abcdefghij"},
        {"class_names": [None] * 10},
        {"class_folders": [["x"]] * 10},
        {"class_indices": 5},
        {"class_indices": [[-1]]},
        {"class_names": [1] * 100_000},
    ],
)
def test_names_of_another_type_in_a_foreign_store_are_refused_when_it_is_opened(tmp_path, annotator):
    """Guards: info, stats and show ended with a TypeError or an AttributeError."""
    write_store(tmp_path / "s", 2)
    path = tmp_path / "s" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotator": annotator}))
    with pytest.raises(ScoreMapStoreError, match="manifest.json is corrupt.*annotator.class_") as refused:
        ScoreMapStore(tmp_path / "s")
    assert len(str(refused.value)) < 1000
