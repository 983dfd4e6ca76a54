import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.score_map_makers import random_map, write_store

from mmtl.score_maps import ScoreMapStore, ScoreMapStoreError, ScoreMapWriter
from mmtl.score_maps import index as index_module


def assert_same(read, written):
    for ours, theirs in zip(read, written, strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=ours is not None)


def test_a_store_returns_what_was_written(tmp_path):
    maps = write_store(tmp_path / "s", 40, shard_bytes=2000)
    store = ScoreMapStore(tmp_path / "s")
    assert len(list((tmp_path / "s").glob("shard-*"))) > 2
    assert list(store) == list(maps) and len(store) == 40
    assert (store.num_classes, store.grid_hw, store.topk) == (10, (3, 5), 2)
    for key, score_map in maps.items():
        assert_same(store[key], score_map)
    assert store.verify() == []


@pytest.mark.parametrize("form", [{}, {"score_bits": 8}, {"score_bits": 8, "num_classes": 5000}, {"log_norm": False}])
def test_reading_many_is_reading_each(tmp_path, form):
    maps = write_store(tmp_path / "s", 20, shard_bytes=1000, **form)
    store, keys = ScoreMapStore(tmp_path / "s"), list(maps)[::-3]
    many = store.read_many(keys)
    for position, key in enumerate(keys):
        assert_same([None if part is None else part[position] for part in many], store[key])
    with pytest.raises(KeyError, match="b/1.png"):
        store.read_many(["b/1.png"])


def test_reading_many_detects_corrupt_records(tmp_path):
    write_store(tmp_path / "s", 3)
    shard = tmp_path / "s" / "shard-00000.bin"
    data = bytearray(shard.read_bytes())
    data[300] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ScoreMapStoreError, match="record 1 is corrupt"):
        ScoreMapStore(tmp_path / "s").read_many(["a/0.png", "a/1.png"])


def test_log_norm_is_none_in_a_store_without_it(tmp_path):
    write_store(tmp_path / "s", 1, log_norm=False)
    assert ScoreMapStore(tmp_path / "s")["a/0.png"].log_norm is None


def test_a_pickled_store_reads_the_same(tmp_path):
    maps = write_store(tmp_path / "s", 5)
    store = ScoreMapStore(tmp_path / "s")
    store["a/0.png"]
    assert_same(pickle.loads(pickle.dumps(store))["a/3.png"], maps["a/3.png"])
    assert len(pickle.dumps(store)) < 1000


def test_what_is_read_may_be_changed_without_changing_the_store(tmp_path):
    maps = write_store(tmp_path / "s", 1)
    store = ScoreMapStore(tmp_path / "s")
    store["a/0.png"].scores[:] = 0
    assert_same(store["a/0.png"], maps["a/0.png"])


def test_an_absent_key_is_named_with_the_store(tmp_path):
    write_store(tmp_path / "s", 3)
    store = ScoreMapStore(tmp_path / "s")
    assert "b/0.png" not in store and 3 not in store
    with pytest.raises(KeyError, match=r"b/0.png.*no score map in .*make_score_maps"):
        store["b/0.png"]


@pytest.mark.parametrize("smallest", [0, 2**20 - 8, 2**32 - 9])  # the first bucket of hashes, two buckets, the last
def test_keys_with_equal_hashes_are_distinguished(tmp_path, monkeypatch, smallest):
    monkeypatch.setattr(index_module, "key_hash", lambda key: smallest + len(key))
    monkeypatch.setattr("mmtl.score_maps.writer.key_hash", lambda key: smallest + len(key))
    maps = write_store(tmp_path / "s", 12, shard_bytes=1000)
    store = ScoreMapStore(tmp_path / "s")
    for key, score_map in maps.items():
        assert_same(store[key], score_map)
    assert "a/x.png" not in store


def test_a_store_with_missing_shards_returns_the_others(tmp_path):
    maps = write_store(tmp_path / "s", 30, shard_bytes=2000)
    (tmp_path / "s" / "shard-00001.bin").unlink()
    store = ScoreMapStore(tmp_path / "s")
    assert store.missing_shards == [str(tmp_path / "s" / "shard-00001.bin")]
    present = list(store)
    assert 0 < len(present) == len(store) < len(maps)
    for key in present:
        assert_same(store[key], maps[key])
    gone = next(key for key in maps if key not in store)
    with pytest.raises(KeyError, match="shard-00001.bin"):
        store[gone]
    assert any("shard-00001.bin is missing" in problem for problem in store.verify())


def test_several_folders_are_one_store(tmp_path):
    maps = write_store(tmp_path / "s", 3) | write_store(tmp_path / "t", 3, seed=1, prefix="b")
    store = ScoreMapStore([tmp_path / "s", tmp_path / "t"])
    assert list(store) == list(maps)
    assert_same(pickle.loads(pickle.dumps(store))["b/2.png"], maps["b/2.png"])


def test_folders_of_different_maps_are_refused(tmp_path):
    write_store(tmp_path / "s", 1)
    write_store(tmp_path / "t", 1, topk=3)
    with pytest.raises(ScoreMapStoreError, match="contain different maps"):
        ScoreMapStore([tmp_path / "s", tmp_path / "t"])


def test_no_store_and_an_unfinished_store_have_different_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="contains no score map store"):
        ScoreMapStore(tmp_path)
    write_store(tmp_path / "s", 1)
    (tmp_path / "s" / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="unfinished"):
        ScoreMapStore(tmp_path / "s")


def test_reading_a_corrupt_record_names_the_shard(tmp_path):
    write_store(tmp_path / "s", 1)
    shard = tmp_path / "s" / "shard-00000.bin"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ScoreMapStoreError, match=r"shard-00000.bin: record 0 is corrupt"):
        ScoreMapStore(tmp_path / "s")["a/0.png"]


def test_a_shard_of_another_store_is_not_read(tmp_path):
    write_store(tmp_path / "s", 2)
    write_store(tmp_path / "t", 2, seed=1)
    shutil.copy(tmp_path / "t" / "shard-00000.bin", tmp_path / "s" / "shard-00000.bin")
    with pytest.raises(ScoreMapStoreError, match="not the shard that the manifest lists"):
        ScoreMapStore(tmp_path / "s")["a/0.png"]


def test_a_later_format_version_is_refused(tmp_path):
    write_store(tmp_path / "s", 1)
    path = tmp_path / "s" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    with pytest.raises(ScoreMapStoreError, match="version 2"):
        ScoreMapStore(tmp_path / "s")


def test_keys_of_several_stores_count_once(tmp_path):
    """Guards: overlapping keys were counted and listed twice."""
    maps = write_store(tmp_path / "s", 5) | write_store(tmp_path / "t", 8)
    both = ScoreMapStore([tmp_path / "s", tmp_path / "t"])
    assert list(both) == list(maps) and len(both) == 8


def test_stores_of_different_annotators_are_read_as_one_with_a_warning(tmp_path):
    for name in ("s", "t"):
        form = dict(num_classes=10, grid_hw=(3, 5), topk=2, annotator={"name": name})
        with ScoreMapWriter(tmp_path / name, **form) as writer:
            writer.add(f"{name}.png", random_map(np.random.default_rng(0)))
    with pytest.warns(UserWarning, match=r"s by 's', .*t by 't': annotator.name \(s / t\)"):
        ScoreMapStore([tmp_path / "s", tmp_path / "t"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ScoreMapStore([tmp_path / "s", tmp_path / "s"])


MANY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
sys.path.insert(0, {tests!r})
from helpers.score_map_makers import write_store
from mmtl.score_maps import ScoreMapStore
maps = write_store(sys.argv[1], 200, shard_bytes=1)
store = ScoreMapStore(sys.argv[1])
assert list(store) == list(maps) and all(key in store for key in maps)
print(len(store.folders[0]._opened))
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    ScoreMapStore(sys.argv[1])[next(iter(maps))]
except OSError as error:
    print(error)
"""


def test_more_shards_than_file_descriptors_are_written_and_read(tmp_path):
    """Guards: 510 shards at the usual limit of 1,024 descriptors ended the generator after all work."""
    script = MANY.format(tests=str(ROOT / "tests"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "64"
    assert "Too many open files" in done.stdout or "More than 3 files are open" in done.stdout


def test_maps_in_missing_shards_are_counted(tmp_path):
    write_store(tmp_path / "s", 30, shard_bytes=800)
    lost = ScoreMapStore(tmp_path / "s").folders[0].manifest.shards[0]
    (tmp_path / "s" / lost.file).unlink()
    assert ScoreMapStore(tmp_path / "s").num_missing == lost.records


def test_a_file_name_that_is_not_utf8_has_no_map(tmp_path):
    """Guards: it ended with a UnicodeEncodeError."""
    write_store(tmp_path / "s", 2)
    store = ScoreMapStore(tmp_path / "s")
    assert "caf\udce9.png" not in store
    with pytest.raises(KeyError, match=r"caf\\\\udce9.png': no score map"):
        store["caf\udce9.png"]
