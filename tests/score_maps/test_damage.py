"""Any corruption of a store ends in one of the documented errors and is found by verify."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.score_map_makers import random_map, write_store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmtl.score_maps import ScoreMapStore, ScoreMapStoreError, ScoreMapWriter
from mmtl.score_maps.layout import RecordLayout
from mmtl.score_maps.shard import read_footer

FILES = ("shard-00000.bin", "shard-00001.bin", "index.bin", "manifest.json")


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    path = tmp_path_factory.mktemp("intact") / "s"
    return path, write_store(path, 12, shard_bytes=300, grid_hw=(2, 2))


def read_everything(path, maps):
    """Keys that could be read; the documented errors are swallowed, a wrong map is not."""
    try:
        store = ScoreMapStore(path)
    except (ScoreMapStoreError, FileNotFoundError):
        return
    for key, score_map in maps.items():
        try:
            read = store[key]
        except (ScoreMapStoreError, KeyError):
            continue
        assert (read.scores == score_map.scores).all() and (read.classes == score_map.classes).all()
        assert (read.classes < store.num_classes).all()
    try:
        list(store)
    except ScoreMapStoreError:
        pass


@pytest.fixture
def copy(intact, tmp_path):
    def fresh():
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        shutil.copytree(intact[0], tmp_path / "s")
        return tmp_path / "s"

    return fresh


fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@fuzz
@given(name=st.sampled_from(FILES[:3]), position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_flipped_byte_is_found_and_never_read_as_a_map(intact, copy, name, position, flip):
    path = copy()
    data = bytearray((path / name).read_bytes())
    data[int(position * len(data))] ^= flip
    (path / name).write_bytes(data)
    problems = ScoreMapStore(path).verify() if _opens(path) else ["does not open"]
    assert problems and (problems == ["does not open"] or name in problems[0])
    read_everything(path, intact[1])


def _opens(path):
    try:
        ScoreMapStore(path)
    except ScoreMapStoreError:
        return False
    return True


@fuzz
@given(name=st.sampled_from(FILES[:3]), position=st.floats(0, 1, exclude_max=True), tail=st.binary(max_size=40))
def test_a_truncated_or_lengthened_file_is_found(intact, copy, name, position, tail):
    path = copy()
    data = (path / name).read_bytes()
    changed = data[: int(position * len(data))] + tail
    (path / name).write_bytes(changed)
    problems = ScoreMapStore(path).verify() if _opens(path) else ["does not open"]
    assert problems or changed == data
    read_everything(path, intact[1])


READ_TRUNCATE_READ = """
import os, sys
from mmtl.score_maps import ScoreMapStore, ScoreMapStoreError
from mmtl.score_maps.shard import read_footer
path, truncated_file, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = ScoreMapStore(path)
keys = list(store)
store[keys[0]]
os.truncate(os.path.join(path, truncated_file), size)
for read in (store.__getitem__, store.__contains__, lambda key: store.read_many([key]), lambda key: list(store)):
    try:
        read(keys[0])
        print("read")
    except ScoreMapStoreError as error:
        print(error)
"""


VERIFY_TRUNCATE = """
import os, sys
import mmtl.score_maps.verify as verify
from mmtl.score_maps import ScoreMapStore
store, truncated_file, size = ScoreMapStore(sys.argv[1]), os.path.join(*sys.argv[1:3]), int(sys.argv[3])
opens = verify.Shard
verify.Shard = lambda *arguments: (opens(*arguments), os.truncate(truncated_file, size))[0]
print(*store.verify(), sep="\\n")
"""


@pytest.mark.parametrize("size", [100, -1])
@pytest.mark.parametrize(
    ("script", "messages"), [(READ_TRUNCATE_READ, 4), (VERIFY_TRUNCATE, 1)], ids=["read", "verify"]
)
def test_a_shard_truncated_while_it_is_open_is_named_and_does_not_kill_the_process(tmp_path, script, messages, size):
    write_store(tmp_path / "s", 3, grid_hw=(40, 40))
    shard = tmp_path / "s" / "shard-00000.bin"
    size %= shard.stat().st_size
    command = [sys.executable, "-c", script, str(tmp_path / "s"), shard.name, str(size)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == messages
    assert all("shard-00000.bin" in line and "corrupt" in line for line in lines)
    assert script == VERIFY_TRUNCATE or all(f"has {size} now" in line for line in lines)


def test_an_index_that_is_truncated_while_the_store_is_open_is_named(tmp_path):
    write_store(tmp_path / "s", 3)
    command = [sys.executable, "-c", READ_TRUNCATE_READ, str(tmp_path / "s"), "index.bin", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    *finding, listing = done.stdout.splitlines()
    assert done.returncode == 0 and len(finding) == 3 and listing == "read", "only finding a key needs the index"
    assert all("index.bin is corrupt" in line and "has 0 now" in line for line in finding)


def test_an_index_whose_hashes_are_not_sorted_is_refused(copy):
    path = copy() / "index.bin"
    content = bytearray(path.read_bytes())
    content[64:68], content[68:72] = content[68:72], content[64:68]
    path.write_bytes(content)
    with pytest.raises(ScoreMapStoreError, match=r"index.bin is corrupt.*not sorted"):
        ScoreMapStore(path.parent)


@pytest.mark.parametrize(
    ("name", "value"), [("num_classes", 11), ("annotator", {"name": "x"}), ("undecodable", ["a"])]
)
def test_a_manifest_that_differs_from_its_shards_is_found(copy, name, value):
    path = copy()
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {name: value}))
    assert name in " ".join(ScoreMapStore(path).verify())


@pytest.mark.parametrize("num_maps", [0, 11, 13, None])
def test_a_manifest_with_another_number_of_maps_than_its_shards_is_refused(copy, num_maps):
    path = copy() / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_maps": num_maps}))
    with pytest.raises(ScoreMapStoreError, match=r"manifest.json is corrupt.*num_maps must be 12"):
        ScoreMapStore(path.parent)


@pytest.mark.parametrize(
    ("field", "cell", "problem"),
    [
        ("scores", [1.0, 2.0], "scores are not sorted"),
        ("scores", [np.inf, 1.0], "a score is NaN or infinite"),
        ("classes", [10, 0], "a class is out of range"),
        ("log_norm", np.nan, "a log_norm is NaN or infinite"),
    ],
)
def test_verify_finds_wrong_values_under_correct_checksums(tmp_path, monkeypatch, field, cell, problem):
    monkeypatch.setattr(RecordLayout, "_checked", lambda self, *parts: parts)  # a writer with a bug
    rng = np.random.default_rng(0)
    with ScoreMapWriter(tmp_path / "s", num_classes=10, grid_hw=(3, 5), topk=2) as writer:
        writer.add("good.png", random_map(rng))
        bad = random_map(rng)
        getattr(bad, field)[2, 4] = cell
        writer.add("bad.png", bad)
    assert ScoreMapStore(tmp_path / "s").verify() == [f"{tmp_path / 's' / 'shard-00000.bin'}: record 1: {problem}."]


@pytest.mark.parametrize("change", [{"num_classes": 5}, {"grid_hw": [4, 1]}, {"grid_hw": [2, 1], "topk": 4}])
def test_a_manifest_of_another_layout_is_refused_at_the_first_read(intact, copy, change):
    path = copy()
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ScoreMapStoreError, match=r"shard-0000\d.bin.*must have the layout"):
        ScoreMapStore(path)[next(iter(intact[1]))]


def test_a_footer_that_does_not_add_up_is_refused(copy):
    shard = copy() / "shard-00000.bin"
    data = shard.read_bytes()
    shard.write_bytes(re.sub(rb'(?<="key_bytes": )\d', lambda digit: b"8" if digit[0] == b"9" else b"9", data))
    with pytest.raises(ScoreMapStoreError, match=r"shard-00000.bin is corrupt: its size must be"):
        read_footer(shard)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@fuzz
@given(data=st.data())
def test_a_changed_manifest_is_refused_or_harmless(intact, copy, data):
    path = copy()
    manifest = json.loads((path / "manifest.json").read_text())
    target = data.draw(st.sampled_from([manifest, manifest["shards"][0], manifest["shards"][-1]]))
    name = data.draw(st.sampled_from(sorted(target)))
    target[name] = data.draw(json_values | st.sampled_from([2, "../x.bin", "shard-00001.bin", [2, 3], 2**40]))
    (path / "manifest.json").write_text(json.dumps(manifest))
    read_everything(path, intact[1])


@fuzz
@given(content=st.binary(max_size=200))
def test_random_bytes_as_manifest_are_refused(copy, content):
    path = copy()
    (path / "manifest.json").write_bytes(content)
    with pytest.raises(ScoreMapStoreError, match=r"manifest.json"):
        ScoreMapStore(path)
