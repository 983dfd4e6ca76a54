"""Files with random changes end in a documented error, or are read without a wrong value.

Each fuzzer runs 2,000 cases, or as many as the environment variable MMTL_FUZZ_CASES says.
"""

import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.score_map_makers import write_store

from mmtl.score_maps import ScoreMapStore, ScoreMapStoreError
from mmtl.score_maps.archive import archive_entries, export_archive, read_entry
from mmtl.score_maps.verify import find_problems
from mmtl.utils.checkpoint import load_from_local, unwrap_weights
from mmtl.utils.tensor_bytes import tensor_from_bytes, tensor_to_bytes

CASES = int(os.environ.get("MMTL_FUZZ_CASES", "2000"))
WORDS = (b"\0" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"-1", b"999999999999", b"posix\nsystem\n", b"../", b"{", b"PK")


def draws(share: float = 1) -> Iterator[random.Random]:
    for case in range(int(share * CASES)):
        yield random.Random(case)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes of a file: flip, overwrite, insert, remove, repeat or truncate."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice((1, 1, 4, 8, 64)))
        kind = rng.randrange(6)
        if kind == 0 and start < end:
            changed[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[start:end] = rng.randbytes(end - start)
        elif kind == 2:
            changed[start:start] = rng.choice(WORDS)
        elif kind == 3:
            changed[start : start + len(word)] = (word := rng.choice(WORDS))
        elif kind == 4:
            del changed[start:end]
        else:
            del changed[start:]
    return bytes(changed)


def mutate_pickle(data: bytes, rng: random.Random) -> bytes:
    """Change the pickle in a file of torch, whose checksums are those of the change."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as records, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as changed:
        for name in records.namelist():
            content = records.read(name)
            changed.writestr(name, mutate(content, rng) if name.endswith("data.pkl") else content)
    return out.getvalue()


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path, monkeypatch):
    """Any file that crafted code would make is noticed."""
    monkeypatch.chdir(tmp_path)


def test_a_changed_store_is_found_and_no_map_is_wrong(tmp_path):
    maps = write_store(tmp_path / "s", 6, shard_bytes=300, grid_hw=(2, 2))
    files = {path: path.read_bytes() for path in sorted((tmp_path / "s").iterdir())}
    for rng in draws():
        path = rng.choice(list(files))
        changed = mutate(files[path], rng)
        path.write_bytes(changed)
        problems = find_problems(tmp_path / "s")
        if path.name != "manifest.json":
            assert bool(problems) == (changed != files[path])
        try:
            store = ScoreMapStore(tmp_path / "s")
            for key, score_map in maps.items():
                if key in store:
                    assert all(np.array_equal(a, b) for a, b in zip(store[key], score_map, strict=True))
            list(store)
        except (ScoreMapStoreError, FileNotFoundError):
            pass
        path.write_bytes(files[path])


@pytest.mark.parametrize("change", [mutate, mutate_pickle])
def test_a_changed_tensor_is_refused_or_read_within_its_size(change, tmp_path):
    rng = np.random.default_rng(0)
    content = tensor_to_bytes(rng.random((2, 2, 3, 5), np.float32).astype(np.float16))
    for draw in draws(1 / 2):
        changed = change(content, draw)
        try:
            read = tensor_from_bytes(changed)
        except ValueError:
            continue
        assert read.dtype == np.float32 and read.size <= len(changed)
    assert not list(tmp_path.iterdir())


def test_a_changed_archive_is_refused_or_its_maps_are_valid(tmp_path):
    write_store(tmp_path / "s", 3, log_norm=False)
    export_archive(ScoreMapStore(tmp_path / "s"), tmp_path / "files", write_tensor=tensor_to_bytes)
    content = Path(shutil.make_archive(str(tmp_path / "x"), "tar", tmp_path / "files")).read_bytes()
    before = sorted(tmp_path.rglob("*"))
    for rng in draws():
        (tmp_path / "x.tar").write_bytes(mutate(content, rng))
        try:
            for entry in archive_entries(tmp_path / "x.tar"):
                _, score_map = read_entry(entry, read_tensor=tensor_from_bytes, num_classes=10, transposed=False)
                assert np.isfinite(score_map.scores).all() and (score_map.classes < 10).all()
        except ValueError:
            pass
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("change", [mutate, mutate_pickle])
def test_a_changed_checkpoint_is_refused_or_holds_finite_tensors(change, tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).state_dict()
    meta = dict(epoch=1, cfg="a = 1", dataset_meta=dict(classes=("a", "b")), array=np.arange(3))
    torch.save(dict(state_dict=state, meta=meta), tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    for draw in draws(1 / 2):
        (tmp_path / "w.pth").write_bytes(change(content, draw))
        try:
            weights = unwrap_weights(load_from_local(str(tmp_path / "w.pth")))
        except ValueError:
            continue
        assert all(value.isfinite().all() for value in weights.values())
    assert len(list(tmp_path.iterdir())) == 1


def test_a_manifest_with_changed_values_is_refused_or_harmless(tmp_path):
    maps = write_store(tmp_path / "s", 4, shard_bytes=300, grid_hw=(2, 2))
    path = tmp_path / "s" / "manifest.json"
    content = json.loads(path.read_text())
    values = (None, True, -1, 0, 2, 2**40, 2**70, 1.5, float("nan"), "", "../x.bin", "shard-00001.bin", [], [2, 3], {})
    for rng in draws(1 / 4):
        changed = json.loads(json.dumps(content))
        for _ in range(rng.choice((1, 1, 2))):
            target = rng.choice([changed, *changed["shards"]] if isinstance(changed["shards"], list) else [changed])
            if isinstance(target, dict) and target:
                target[rng.choice(sorted(target))] = rng.choice(values)
            if not isinstance(changed.get("shards"), list):
                break
        path.write_text(json.dumps(changed))
        find_problems(tmp_path / "s")
        try:
            store = ScoreMapStore(tmp_path / "s")
            assert all(np.array_equal(store[key].scores, maps[key].scores) for key in store)
        except (ScoreMapStoreError, FileNotFoundError, KeyError):
            pass
