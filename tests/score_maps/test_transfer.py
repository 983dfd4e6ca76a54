from pathlib import Path

import numpy as np
import pytest
from helpers.score_map_makers import contents, random_map, write_store

from mmtl.score_maps import ScoreMapStore, ScoreMapStoreError, ScoreMapWriter
from mmtl.score_maps.layout import RecordLayout
from mmtl.score_maps.manifest import make_settings
from mmtl.score_maps.shard import ShardWriter, shard_name
from mmtl.score_maps.transfer import merge_stores, split_store
from mmtl.score_maps.writer import finish_store


def test_merging_undoes_splitting(tmp_path):
    write_store(tmp_path / "s", 30, shard_bytes=800)
    parts = split_store(tmp_path / "s", tmp_path / "p", 3)
    assert parts == [tmp_path / f"p-{number}" for number in range(3)]
    stores = [ScoreMapStore(part) for part in parts]
    assert sum(map(len, stores)) == 30 and all(store.verify() == [] for store in stores)
    assert list(ScoreMapStore(parts)) == list(ScoreMapStore(tmp_path / "s"))
    merge_stores(parts[::-1], tmp_path / "m")
    assert contents(tmp_path / "m") == contents(tmp_path / "s")


def test_stores_of_different_images_are_repacked_into_one(tmp_path):
    maps = write_store(tmp_path / "s", 7, shard_bytes=800) | write_store(tmp_path / "t", 9, seed=1, prefix="b")
    merge_stores([tmp_path / "s", tmp_path / "t"], tmp_path / "m")
    store = ScoreMapStore(tmp_path / "m")
    assert list(store) == list(maps) and store.verify() == []
    assert len(list((tmp_path / "m").glob("shard-*"))) == 1
    for key, score_map in maps.items():
        np.testing.assert_array_equal(store[key].scores, score_map.scores)
        np.testing.assert_array_equal(store[key].classes, score_map.classes)


def test_stores_of_different_maps_or_with_a_key_twice_are_not_merged(tmp_path):
    write_store(tmp_path / "s", 3)
    write_store(tmp_path / "t", 3, topk=3, prefix="b")
    with pytest.raises(ScoreMapStoreError, match="topk"):
        merge_stores([tmp_path / "s", tmp_path / "t"], tmp_path / "m")
    write_store(tmp_path / "u", 2, seed=1)
    # Guards: the message named shards of the target, which were removed, and advised to delete one of them.
    with pytest.raises(ScoreMapStoreError, match=r"u/shard-00000.bin: 'a/0.png' occurs twice, first in .*s/shard-0"):
        merge_stores([tmp_path / "s", tmp_path / "u"], tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_stores_with_missing_shards_are_neither_merged_nor_split(tmp_path):
    write_store(tmp_path / "s", 30, shard_bytes=800)
    (tmp_path / "s" / "shard-00001.bin").unlink()
    with pytest.raises(ScoreMapStoreError, match="shard-00001.bin"):
        merge_stores([tmp_path / "s"], tmp_path / "m")
    with pytest.raises(ScoreMapStoreError, match="shard-00001.bin"):
        split_store(tmp_path / "s", tmp_path / "p", 2)


def test_merging_rebuilds_a_lost_index(tmp_path):
    write_store(tmp_path / "s", 9, shard_bytes=800)
    before = contents(tmp_path / "s")
    (tmp_path / "s" / "index.bin").unlink()
    merge_stores([tmp_path / "s"], tmp_path / "m")
    assert contents(tmp_path / "m") == before


def test_more_parts_than_shards_are_refused(tmp_path):
    write_store(tmp_path / "s", 3)
    for parts in (2, 10**18):
        with pytest.raises(ScoreMapStoreError, match=f"at most 1, .*got {parts}"):
            split_store(tmp_path / "s", tmp_path / "p", parts)


def test_repacking_keeps_each_undecodable_image_once(tmp_path, monkeypatch):
    layout = RecordLayout(10, (3, 5), 2)
    for name in ("s", "t"):
        rng = np.random.default_rng(0)
        (tmp_path / name).mkdir()
        for unit in range(2):
            writer = ShardWriter(tmp_path / name / shard_name(unit), layout)
            scores, classes, log_norm = random_map(rng)
            writer.add([f"{name}/{unit}.png"], layout.encode(scores[None], classes[None], log_norm[None]))
            writer.finish(make_settings(layout, None, None), unit, [f"{name}/bad_{unit}.png"])
        finish_store(tmp_path / name)
    monkeypatch.setattr("mmtl.score_maps.transfer.SHARD_BYTES", 1)
    merge_stores([tmp_path / "s", tmp_path / "t"], tmp_path / "m")
    store = ScoreMapStore(tmp_path / "m")
    assert len(list((tmp_path / "m").glob("shard-*"))) == 4 and store.verify() == []
    assert store.undecodable == [f"{name}/bad_{unit}.png" for name in ("s", "t") for unit in range(2)]


def test_stores_whose_shards_are_relative_links_are_merged_and_split(tmp_path):
    """Guards: hard links to relative links, as in caches of Hugging Face and DVC, led nowhere."""
    write_store(tmp_path / "s", 30, shard_bytes=800)
    before = contents(tmp_path / "s")
    (tmp_path / "blobs").mkdir()
    for path in (tmp_path / "s").glob("shard-*"):
        path.rename(tmp_path / "blobs" / path.name)
        path.symlink_to(f"../blobs/{path.name}")
    merge_stores(split_store(tmp_path / "s", tmp_path / "deep" / "p", 2), tmp_path / "m")
    assert contents(tmp_path / "m") == before


def test_stores_in_a_cache_of_links_are_merged_and_split_from_anywhere(tmp_path, monkeypatch):
    """Manifest and index are links too, the folder is a link, links lead to links, and files are read-only."""
    write_store(tmp_path / "s", 30, shard_bytes=800)
    before = contents(tmp_path / "s")
    (tmp_path / "hub" / "snapshots").mkdir(parents=True)
    (tmp_path / "s").rename(tmp_path / "hub" / "blobs")
    for name, target in (("rev", "../../blobs"), ("again", "../rev")):
        (tmp_path / "hub" / "snapshots" / name).mkdir()
        for file in before:
            (tmp_path / "hub" / "snapshots" / name / file).symlink_to(f"{target}/{file}")
    for path in (tmp_path / "hub" / "blobs").iterdir():
        path.chmod(0o444)
    (tmp_path / "linked").symlink_to("hub/snapshots/again")
    monkeypatch.chdir(tmp_path / "hub")
    for number, source in enumerate((Path("snapshots/again"), Path("../linked"), tmp_path / "linked")):
        out = Path("..", "deep", str(number), "er")
        merge_stores(split_store(source, out / "p", 2), out / "m")
        assert contents(out / "m") == before and ScoreMapStore(out / "m").verify() == []


def test_a_shard_whose_link_leads_nowhere_is_missing_and_made_again(tmp_path):
    """Guards: with a shard gone from a cache of links, the rerun ended with FileNotFoundError."""
    maps = write_store(tmp_path / "s", 30, shard_bytes=800)
    before = contents(tmp_path / "s")
    lost = tmp_path / "s" / "shard-00001.bin"
    lost.unlink()
    lost.symlink_to("../blobs/gone")
    with pytest.raises(ScoreMapStoreError, match="shard-00001.bin"):
        split_store(tmp_path / "s", tmp_path / "p", 2)
    with ScoreMapWriter(tmp_path / "s", num_classes=10, grid_hw=(3, 5), topk=2, shard_bytes=800) as writer:
        for key in (key for key in maps if key not in writer):
            writer.add(key, maps[key])
    assert contents(tmp_path / "s") == before


def test_merging_and_splitting_again_does_nothing(tmp_path):
    write_store(tmp_path / "s", 7, shard_bytes=800)
    write_store(tmp_path / "t", 9, seed=1, prefix="b")
    for _ in range(2):
        parts = split_store(tmp_path / "s", tmp_path / "p", 2)
        merge_stores([tmp_path / "s", tmp_path / "t"], tmp_path / "repacked")
        merge_stores(parts, tmp_path / "linked")
    with pytest.raises(FileExistsError, match="another store"):
        merge_stores([tmp_path / "t", tmp_path / "s"], tmp_path / "repacked")
    with pytest.raises(FileExistsError, match="another store"):
        split_store(tmp_path / "t", tmp_path / "p", 1)
