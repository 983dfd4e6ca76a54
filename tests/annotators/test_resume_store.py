"""A store that was stopped, or has lost files, is completed to what it would have been."""

import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from helpers.made_stores import OPTIONS, make
from helpers.score_map_makers import CLASSES, contents, tiny_annotator

from mmtl.annotators.generate import Options
from mmtl.score_maps import ScoreMapStore


class SlowAnnotator:
    """A slow annotator, to be killed while it runs."""

    def __init__(self):
        self.inner = tiny_annotator()

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def logits(self, images):
        time.sleep(0.02)
        return self.inner.logits(images)


def make_slowly(images, folder, begun):
    annotator = SlowAnnotator()
    begun.set()
    make(images, folder, annotator=annotator)


class AnnotatorBesideAnotherRun(SlowAnnotator):
    """Start a second run on the same folder while the first runs."""

    def __init__(self, images, folder):
        super().__init__()
        self.second = lambda: make(images, folder)
        self.refused = 0

    def logits(self, images):
        if len(images) > 1:  # not the trial run
            with pytest.raises(FileExistsError, match="Another run is writing"):
                self.second()
            self.refused += 1
        return self.inner.logits(images)


def make_and_die_at_the_manifest(images, folder, options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmtl.score_maps.writer.write_manifest", lambda folder, manifest: os.kill(os.getpid(), 9))
        make(images, folder, options)


def mount_small_disk(folder, size="64k"):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")


def test_a_store_killed_at_random_times_and_resumed_is_the_same(images, tmp_path, processes):
    make(images, tmp_path / "complete")
    rng = np.random.default_rng(0)
    kills = 0
    for _ in range(6):
        begun = processes.Event()
        process = processes.Process(target=make_slowly, args=(images, tmp_path / "s", begun))
        process.start()
        assert begun.wait(60)
        time.sleep(rng.uniform(0.02, 0.2))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
    make(images, tmp_path / "s")
    assert kills and contents(tmp_path / "s") == contents(tmp_path / "complete")


def test_a_second_run_at_the_same_time_is_an_error_and_does_not_affect_the_first(images, tmp_path):
    annotator = AnnotatorBesideAnotherRun(images, tmp_path / "s")
    make(images, tmp_path / "s", annotator=annotator)
    make(images, tmp_path / "complete")
    assert annotator.refused and contents(tmp_path / "s") == contents(tmp_path / "complete")


def test_a_finished_store_has_its_list_of_undecodable_images(images, tmp_path, processes):
    (images / "bee" / "2.png").write_bytes(b"not an image")
    options = Options(**(vars(OPTIONS) | {"max_undecodable": 0.2}))
    process = processes.Process(target=make_and_die_at_the_manifest, args=(images, tmp_path / "s", options))
    process.start()
    process.join(120)
    assert process.exitcode == -9 and not (tmp_path / "s" / "manifest.json").exists()
    assert (tmp_path / "s" / "undecodable.txt").read_text() == "bee/2.png\n"


def test_a_run_resumes_after_an_image_was_repaired(images, tmp_path):
    good = (images / "cat" / "1.png").read_bytes()
    (images / "cat" / "1.png").write_bytes(good[:60])
    with pytest.raises(ValueError, match=r"cat/1.png"):
        make(images, tmp_path / "s")
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"shard-00000.bin", "shard-00001.bin"}
    (images / "cat" / "1.png").write_bytes(good)
    make(images, tmp_path / "s")
    make(images, tmp_path / "complete")
    assert contents(tmp_path / "s") == contents(tmp_path / "complete")


def test_resuming_prints_what_was_found(images, tmp_path, capsys):
    make(images, tmp_path / "s")
    for name in ("manifest.json", "index.bin", "shard-00002.bin"):
        (tmp_path / "s" / name).unlink()
    make(images, tmp_path / "s")
    assert "3 of 4 shards are complete" in capsys.readouterr().out
    make(images, tmp_path / "s")
    assert "nothing to do" in capsys.readouterr().out


def test_resuming_with_other_images_or_options_is_an_error(images, tmp_path):
    make(images, tmp_path / "s")
    with pytest.raises(FileExistsError, match="topk"):
        make(images, tmp_path / "s", Options(**(vars(OPTIONS) | {"topk": 1})))
    (tmp_path / "s" / "manifest.json").unlink()
    shutil.copy(images / "ant" / "0.png", images / "ant" / "9.png")
    with pytest.raises(ValueError, match="plan"):
        make(images, tmp_path / "s")


def test_a_full_disk_is_an_error_and_corrupts_no_shard(images, tmp_path):
    make(images, tmp_path / "complete")
    mount_small_disk(tmp_path / "disk", size="12k")
    try:
        with pytest.raises(OSError, match=r"No space left on device \(free disk space.*disk/s/shard-\d{5}.bin.part"):
            make(images, tmp_path / "disk" / "s")
        complete = contents(tmp_path / "complete")
        left = contents(tmp_path / "disk" / "s")
        assert left and all(complete[name] == content for name, content in left.items())
        subprocess.run(["mount", "-o", "remount,size=1m", str(tmp_path / "disk")], check=True)
        make(images, tmp_path / "disk" / "s")
        assert contents(tmp_path / "disk" / "s") == complete
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        with pytest.raises(OSError, match="Read-only"):
            make(images, tmp_path / "disk" / "t")
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def test_a_deleted_shard_is_made_again(images, tmp_path, capsys):
    """Guards: the rerun after the advice "delete the shard and make it again" had nothing to do."""
    make(images, tmp_path / "s")
    before = contents(tmp_path / "s")
    for name in ("shard-00002.bin", "index.bin"):
        (tmp_path / "s" / name).unlink()
        make(images, tmp_path / "s")
        assert contents(tmp_path / "s") == before and "nothing to do" not in capsys.readouterr().out


def test_images_replaced_under_their_names_are_noticed(images, tmp_path):
    """Guards: the plan knew only names."""
    make(images, tmp_path / "s")
    before = contents(tmp_path / "s")
    shutil.copyfile(images / "bee" / "1.png", images / "bee" / "0.png")
    for finished in (True, False):
        if not finished:
            (tmp_path / "s" / "manifest.json").unlink()
        with pytest.raises(ValueError, match=r"shard-00001.bin: images in .* have changed"):
            make(images, tmp_path / "s")
    (tmp_path / "s" / "shard-00001.bin").unlink()
    make(images, tmp_path / "s")
    assert contents(tmp_path / "s").keys() == before.keys() and contents(tmp_path / "s") != before


def test_an_undecodable_image_that_was_repaired_is_annotated(images, tmp_path):
    options = Options(**(vars(OPTIONS) | {"max_undecodable": 0.2}))
    good = (images / "cat" / "1.png").read_bytes()
    (images / "cat" / "1.png").write_bytes(good[:60])
    make(images, tmp_path / "s", options)
    assert ScoreMapStore(tmp_path / "s").undecodable == ["cat/1.png"]
    (images / "cat" / "1.png").write_bytes(good)
    make(images, tmp_path / "s", options)
    make(images, tmp_path / "complete")
    left = contents(tmp_path / "s")
    assert left == contents(tmp_path / "complete")


def test_a_store_made_before_class_names_were_known_continues(images, tmp_path, capsys):
    """Guards: stores of timm models were refused as made with other settings after timm's class names were added."""
    known = {"class_names": list(CLASSES), "class_folders": list(CLASSES)}
    for before, now in (({"class_names": None}, known), ({}, known), (known, {})):
        old, new = tiny_annotator(), tiny_annotator()
        old.description |= {"weights_sha256": "0", **before}
        new.description |= {"weights_sha256": "0", **now}
        make(images, tmp_path / "s", annotator=old)
        make(images, tmp_path / "s", annotator=new)
        assert "nothing to do" in capsys.readouterr().out
        (tmp_path / "s" / "shard-00000.bin").unlink()
        make(images, tmp_path / "s", annotator=new)
        assert ScoreMapStore(tmp_path / "s").verify() == []
        new.description["weights_sha256"] = "1"
        with pytest.raises(FileExistsError, match="weights_sha256"):
            make(images, tmp_path / "s", annotator=new)
        shutil.rmtree(tmp_path / "s")
