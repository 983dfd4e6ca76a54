import numpy as np
import pytest
from helpers.score_map_makers import contents, random_map, write_store

from mmtl.score_maps import ScoreMapStore, ScoreMapStoreError, ScoreMapWriter

FORM = dict(num_classes=10, grid_hw=(3, 5), topk=2)


def test_a_killed_writer_continues_after_the_last_complete_shard(tmp_path):
    maps = write_store(tmp_path / "uninterrupted", 30, shard_bytes=1500)
    writer = ScoreMapWriter(tmp_path / "s", **FORM, shard_bytes=1500)
    for key in list(maps)[:25]:
        writer.add(key, maps[key])
    del writer  # killed: the current shard stays as a temporary file
    assert list((tmp_path / "s").glob("*.part"))
    with ScoreMapWriter(tmp_path / "s", **FORM, shard_bytes=1500) as writer:
        assert 0 < len(writer) < 25
        for key in maps:
            if key not in writer:
                writer.add(key, maps[key])
    assert contents(tmp_path / "s") == contents(tmp_path / "uninterrupted")


def test_a_failed_first_shard_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), ScoreMapWriter(tmp_path / "s", **FORM) as writer:
        writer.add("a.png", random_map(np.random.default_rng(0)))
        raise RuntimeError
    assert not (tmp_path / "s").exists()


def test_a_key_is_added_once(tmp_path):
    with ScoreMapWriter(tmp_path / "s", **FORM) as writer:
        writer.add("a.png", random_map(np.random.default_rng(0)))
        with pytest.raises(ValueError, match="not added before"):
            writer.add("a.png", random_map(np.random.default_rng(0)))
    assert len(ScoreMapStore(tmp_path / "s")) == 1


def test_a_key_that_is_not_utf8_is_refused_and_the_shard_stays_intact(tmp_path):
    with ScoreMapWriter(tmp_path / "s", **FORM) as writer:
        with pytest.raises(ValueError, match=r"'caf\\udce9.png': the file name must be valid UTF-8"):
            writer.add("caf\udce9.png", random_map(np.random.default_rng(0)))
        writer.add("a.png", random_map(np.random.default_rng(0)))
    assert ScoreMapStore(tmp_path / "s").verify() == []


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_second_writer_to_the_same_folder_is_refused(tmp_path, end):
    first = ScoreMapWriter(tmp_path / "s", **FORM, shard_bytes=1)
    first.add("a.png", random_map(np.random.default_rng(0)))
    with pytest.raises(FileExistsError, match="Another run is writing"):
        ScoreMapWriter(tmp_path / "s", **FORM, shard_bytes=1)
    getattr(first, end)()
    if end == "abort":
        assert "a.png" in ScoreMapWriter(tmp_path / "s", **FORM, shard_bytes=1)


def test_writing_to_a_finished_store_is_refused(tmp_path):
    write_store(tmp_path / "s", 1)
    with pytest.raises(FileExistsError, match="finished"):
        ScoreMapWriter(tmp_path / "s", **FORM)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match="thesis.tex"):
        ScoreMapWriter(tmp_path, **FORM)


def test_continuing_with_other_settings_is_refused(tmp_path):
    writer = ScoreMapWriter(tmp_path / "s", **FORM, shard_bytes=1)
    writer.add("a.png", random_map(np.random.default_rng(0)))
    writer.abort()
    with pytest.raises(ScoreMapStoreError, match="topk"):
        ScoreMapWriter(tmp_path / "s", **(FORM | {"topk": 3}))


def test_an_empty_store_is_refused(tmp_path):
    with pytest.raises(ScoreMapStoreError, match="at least one score map"):
        ScoreMapWriter(tmp_path / "s", **FORM).close()


def batch(**changes):
    scores, classes, log_norm = random_map(np.random.default_rng(0))
    return dict(keys=["a.png"], scores=scores[None], classes=classes[None], log_norm=log_norm[None]) | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(keys=["a.png", "b.png"]), "as many maps as keys, 2, got the shapes"),
        (dict(keys=[]), "as many maps as keys"),
        (dict(keys="a"), "keys must be a list of image paths"),
        (dict(keys=iter(["a.png"])), "keys must be a list of image paths"),
        (dict(scores=1.0, classes=2), "as many maps as keys"),
        (dict(log_norm=3.0), "as many maps as keys"),
        (dict(classes=batch()["classes"] + 0.5), "must be integers"),
        (dict(classes=batch()["classes"] * np.nan), "must be integers"),
        (dict(classes=np.zeros((1, 3, 5, 2), int)), "a class twice"),
        (dict(log_norm=batch()["log_norm"] - 9), "log_norm must be at least the top-1 score"),
        (dict(keys=["x" * 70000]), "at most 65536 bytes"),
    ],
)
def test_an_impossible_batch_is_refused_before_anything_is_written(tmp_path, changes, message):
    """Guards: such batches were written, and the store could never be finished or read."""
    with ScoreMapWriter(tmp_path / "s", **FORM, log_norm=True) as writer:
        with pytest.raises(ValueError, match=message):
            writer.add_batch(**batch(**changes))
        assert not list((tmp_path / "s").iterdir()) and not len(writer)
        writer.add_batch(**batch())
    assert ScoreMapStore(tmp_path / "s").verify() == []


@pytest.mark.parametrize("resumed", [False, True])
def test_log_norm_after_maps_without_it_is_refused_unless_it_is_to_be_dropped(tmp_path, resumed):
    """Guards: the log_norm of every later map was dropped without a word."""
    shard_bytes = 1 if resumed else 10**6
    writer = ScoreMapWriter(tmp_path / "s", **FORM, shard_bytes=shard_bytes)
    writer.add_batch(**batch(log_norm=None))
    if resumed:
        writer.abort()
        writer = ScoreMapWriter(tmp_path / "s", **FORM, shard_bytes=shard_bytes)
    with pytest.raises(ValueError, match="log_norm must be None for 'b.png', as the first map of .*s has none"):
        writer.add_batch(**batch(keys=["b.png"]))
    writer.add_batch(**batch(keys=["b.png"], log_norm=None))
    writer.close()
    assert len(ScoreMapStore(tmp_path / "s")) == 2
    with ScoreMapWriter(tmp_path / "dropped", **FORM, log_norm=False) as writer:
        writer.add_batch(**batch())


def test_a_key_twice_in_a_batch_is_refused(tmp_path):
    """Guards: the duplicate was found only when the store was finished, after all work."""
    both = {name: np.concatenate([part, part]) for name, part in batch(keys=["a.png"]).items() if name != "keys"}
    with ScoreMapWriter(tmp_path / "s", **FORM, log_norm=True) as writer:
        with pytest.raises(ValueError, match="'a.png' twice"):
            writer.add_batch(["a.png", "a.png"], **both)
        writer.add_batch(["a.png", "b.png"], **both)


def test_an_empty_batch_adds_nothing(tmp_path):
    """Guards: it ended with NumPy's message about reshaping."""
    with ScoreMapWriter(tmp_path / "s", **FORM) as writer:
        writer.add_batch([], *(part[:0] for name, part in batch().items() if name != "keys"))
        writer.add_batch(**batch())
    assert len(ScoreMapStore(tmp_path / "s")) == 1


@pytest.mark.parametrize(
    "change",
    [
        dict(annotator="resnet"),
        dict(annotator={"class_names": [1, 2]}),
        dict(grid_hw=(4096, 4096), topk=8),
        dict(grid_hw=(3, 4, 5)),
        dict(num_classes=10.5),
    ],
)
def test_what_no_reader_accepts_is_refused_before_the_first_map(tmp_path, change):
    """Guards: the bounds of the format were checked by readers only, after the work."""
    with pytest.raises(ValueError, match=r"annotator.* must be|at most .* scores|two integers|must be a count"):
        ScoreMapWriter(tmp_path / "s", **(FORM | change))
    assert not (tmp_path / "s").exists()


def test_a_deleted_shard_is_made_again_with_the_same_bytes(tmp_path):
    """Guards: the advice to delete a corrupt shard and make it again ended in an error."""
    maps = write_store(tmp_path / "s", 30, shard_bytes=1500)
    before = contents(tmp_path / "s")
    (tmp_path / "s" / "shard-00001.bin").unlink()
    with ScoreMapWriter(tmp_path / "s", **FORM, shard_bytes=1500) as writer:
        for key in maps:
            if key not in writer:
                writer.add(key, maps[key])
    assert contents(tmp_path / "s") == before


def test_a_finished_store_that_lacks_a_shard_is_kept_when_the_settings_differ(tmp_path):
    write_store(tmp_path / "s", 30, shard_bytes=1500)
    (tmp_path / "s" / "shard-00001.bin").unlink()
    before = contents(tmp_path / "s")
    with pytest.raises(ScoreMapStoreError, match="topk"):
        ScoreMapWriter(tmp_path / "s", **(FORM | {"topk": 3}))
    assert contents(tmp_path / "s") == before
