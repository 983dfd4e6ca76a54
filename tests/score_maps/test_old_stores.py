"""Stores written by an earlier version are read, verified and continued, and the format written today is the same."""

import shutil

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.score_map_makers import contents

from mmtl.score_maps import ScoreMap, ScoreMapStore, ScoreMapWriter

FOLDER = ROOT / "tests/data/written_by_2994935"
FORM = dict(num_classes=10, grid_hw=(3, 4), topk=3, shard_bytes=400)
FORMS = {
    "store_16_bit": dict(score_bits=16, log_norm=True),
    "store_8_bit": dict(score_bits=8, log_norm=True),
    "store_without_log_norm": dict(score_bits=16, log_norm=False),
}
ANNOTATOR = {"name": "made by hand", "class_names": [f"c{number}" for number in range(10)]}
KEYS = [f"class_{number % 2}/image {number}.png" for number in range(6)]
each_store = pytest.mark.parametrize("name", FORMS)


def arrays(file, prefix):
    """Arrays of an archive by field; None for a field that is not there."""
    with np.load(FOLDER / file) as archive:
        names = [f"{prefix}|{field}" for field in ScoreMap._fields]
        return [archive[name] if name in archive else None for name in names]


def assert_same(score_map, expected):
    for part, value in zip(score_map, expected, strict=True):
        assert (part is None) == (value is None)
        if value is not None:
            assert part.dtype == value.dtype
            np.testing.assert_array_equal(part, value)


@each_store
def test_an_old_store_gives_the_maps_it_gave(name):
    store = ScoreMapStore(FOLDER / name)
    assert sorted(store) == sorted(KEYS) and store.annotator == ANNOTATOR and store.coverage == "whole"
    many = store.read_many(KEYS)
    for row, key in enumerate(KEYS):
        expected = arrays("expected.npz", f"{name}|{key}")
        assert_same(store[key], expected)
        assert_same([None if part is None else part[row] for part in many], expected)


@each_store
def test_an_old_store_verifies(name):
    assert ScoreMapStore(FOLDER / name).verify() == []


@each_store
def test_a_store_written_today_has_the_same_bytes(name, tmp_path):
    scores, classes, log_norm = arrays("inputs.npz", name)
    form = FORM | FORMS[name]
    with ScoreMapWriter(tmp_path / name, **form, annotator=ANNOTATOR) as writer:
        for row, key in enumerate(KEYS):
            writer.add(key, ScoreMap(scores[row], classes[row], log_norm[row] if form["log_norm"] else None))
    assert contents(tmp_path / name) == contents(FOLDER / name)


def test_an_unfinished_old_store_continues(tmp_path):
    shutil.copytree(FOLDER / "store_unfinished", tmp_path / "store")
    before = (tmp_path / "store" / "shard-00000.bin").read_bytes()
    maps = {
        f"class_0/{number}.png": ScoreMap(*parts)
        for number, parts in enumerate(zip(*arrays("expected.npz", "unfinished"), strict=True))
    }
    with ScoreMapWriter(tmp_path / "store", **FORM, log_norm=True) as writer:
        found = set(writer)
        assert 0 < len(found) < len(maps)
        for key in maps.keys() - found:
            writer.add(key, maps[key])
    store = ScoreMapStore(tmp_path / "store")
    assert set(store) == set(maps) and store.verify() == []
    assert (tmp_path / "store" / "shard-00000.bin").read_bytes() == before
    for key, score_map in maps.items():
        assert_same(store[key], score_map)
