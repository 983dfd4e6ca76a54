import json
import os
import shutil
import signal
import subprocess
import time
from argparse import ArgumentParser
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from helpers.score_map_makers import CLASSES, contents, tiny_annotator, tiny_classifier, write_images
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtl.annotators.compare import compare_store
from mmtl.annotators.generate import Options, Plan, unit_size
from mmtl.annotators.make_store import annotate_folder, make_store, prepare_job, summary
from mmtl.annotators.work_queue import LocalQueue
from mmtl.cli.make_score_maps import parse_args
from mmtl.score_maps import ScoreMapStore
from mmtl.score_maps.stats import cell_probabilities
from mmtl.utils.image_files import list_images

OPTIONS = Options(topk=2, batch_size=3, workers=0, shard_images=4)


@pytest.fixture
def images(tmp_path):
    write_images(tmp_path / "images", 5)
    return tmp_path / "images"


def make(images, folder, options=OPTIONS, queue=None, annotator=None):
    job = prepare_job(annotator or tiny_annotator(), images, folder, options)
    make_store(job, queue or LocalQueue())
    return job


def test_every_image_gets_the_map_of_its_dense_logits(images, tmp_path):
    make(images, tmp_path / "s")
    store, annotator = ScoreMapStore(tmp_path / "s"), tiny_annotator()
    assert list(store) == list_images(images) == sorted(f"{c}/{n}.png" for c in CLASSES for n in range(5))
    assert store.grid_hw == (8, 8) and store.verify() == []
    resized = annotator.resize((32, 32))(images / "bee/3.png")
    logits = annotator.logits(torch.from_numpy(resized).permute(2, 0, 1)[None])[0]
    top = logits.topk(2, dim=-1)
    np.testing.assert_array_equal(store["bee/3.png"].classes, top.indices)
    np.testing.assert_allclose(store["bee/3.png"].scores, top.values, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(store["bee/3.png"].log_norm, logits.logsumexp(-1), rtol=2e-3, atol=1e-3)


def test_only_the_images_of_a_list_get_maps_and_it_has_their_classes(images, tmp_path):
    (images / "no images").mkdir()
    (tmp_path / "list.txt").write_text("".join(f"{key} 1\n" for key in ("cat/2.png", "ant/0.png")))
    job = make(images, tmp_path / "s", replace(OPTIONS, list_file=tmp_path / "list.txt"))
    assert list(ScoreMapStore(tmp_path / "s")) == ["ant/0.png", "cat/2.png"] and job.labels.tolist() == [1, 1]


def test_the_pooled_maps_have_the_classifiers_own_accuracy(images, tmp_path):
    make(images, tmp_path / "s")
    annotator, classifier = tiny_annotator(), tiny_classifier()
    hits = 0
    for key in list_images(images):
        resized = annotator.resize((32, 32))(images / key)
        pixels = annotator.normalize(torch.from_numpy(resized).permute(2, 0, 1)[None])
        hits += int(classifier(pixels).argmax()) == CLASSES.index(key.split("/")[0])
    totals = summary(tmp_path / "s")
    assert (totals["top1"], totals["labelled"], totals["images"]) == (hits, 15, 15)
    assert totals["top5"] == 15  # of three classes


def test_the_accuracy_counts_the_folders_whose_names_the_annotator_knows(images, tmp_path):
    shutil.rmtree(images / "ant")
    (images / "bee").rename(images / "wasp")
    annotator = tiny_annotator()
    annotator.description["class_names"] = ["ant", "cat", "bee"]
    job = make(images, tmp_path / "s", annotator=annotator)
    assert job.labels.tolist() == [1] * 5 + [-1] * 5 and summary(tmp_path / "s")["labelled"] == 5


def test_a_store_is_compared_with_the_annotators_present_output(images, tmp_path):
    make(images, tmp_path / "s")
    store = ScoreMapStore(tmp_path / "s")
    same = compare_store(store, tiny_annotator(), images, list(store))
    assert same.probability_difference < 1e-3 and same.class_mismatch == 0
    other = tiny_annotator()
    torch.nn.init.normal_(other.dense.head.fc.weight)
    assert compare_store(store, other, images, list(store)).probability_difference > 0.01


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


def test_a_second_run_at_the_same_time_is_an_error_and_does_not_affect_the_first(images, tmp_path):
    annotator = AnnotatorBesideAnotherRun(images, tmp_path / "s")
    make(images, tmp_path / "s", annotator=annotator)
    make(images, tmp_path / "complete")
    assert annotator.refused and contents(tmp_path / "s") == contents(tmp_path / "complete")


@settings(deadline=None)
@given(images=st.integers(1, 3_000_000), record=st.integers(8, 2**20), limit=st.integers(2**20, 2**28))
def test_units_cover_every_image_once_and_fit_a_shard(images, record, limit):
    size = unit_size(images, record, limit)
    plan = Plan(range(images), size)
    assert size * record <= max(limit, record)
    first, last = plan.unit(0), plan.unit(plan.num_units - 1)
    assert first.start == 0 and last.stop == images and len(last) > 0
    assert all(plan.unit(n).stop == plan.unit(n + 1).start for n in range(min(plan.num_units - 1, 20)))


def test_a_few_undecodable_images_are_listed(images, tmp_path):
    (images / "bee" / "2.png").write_bytes(b"not an image")
    (images / "cat" / "0.png").write_bytes(b"")
    job = make(images, tmp_path / "s", Options(**(vars(OPTIONS) | {"max_undecodable": 0.2})))
    store = ScoreMapStore(tmp_path / "s")
    assert (tmp_path / "s" / "undecodable.txt").read_text() == "bee/2.png\ncat/0.png\n"
    assert store.undecodable == ["bee/2.png", "cat/0.png"] and len(store) == 13
    assert job.allowed_undecodable == 3 and store.verify() == []


def make_and_die_at_the_manifest(images, folder, options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmtl.score_maps.writer.write_manifest", lambda folder, manifest: os.kill(os.getpid(), 9))
        make(images, folder, options)


def test_a_finished_store_has_its_list_of_undecodable_images(images, tmp_path, processes):
    (images / "bee" / "2.png").write_bytes(b"not an image")
    options = Options(**(vars(OPTIONS) | {"max_undecodable": 0.2}))
    process = processes.Process(target=make_and_die_at_the_manifest, args=(images, tmp_path / "s", options))
    process.start()
    process.join(120)
    assert process.exitcode == -9 and not (tmp_path / "s" / "manifest.json").exists()
    assert (tmp_path / "s" / "undecodable.txt").read_text() == "bee/2.png\n"


def test_too_many_undecodable_images_stop_the_run_and_leave_nothing(images, tmp_path):
    (images / "ant" / "0.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"ant/0.png cannot be decoded"):
        make(images, tmp_path / "s")
    assert not (tmp_path / "s").exists()


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


def test_k_above_the_class_count_and_impossible_input_sizes_are_errors(images, tmp_path):
    with pytest.raises(ValueError, match="num_classes=3, got topk=4"):
        prepare_job(tiny_annotator(), images, tmp_path / "s", Options(topk=4))
    annotator = tiny_annotator()
    annotator.dense.backbone = torch.nn.Conv2d(3, 32, 64)
    with pytest.raises(ValueError, match="cannot be converted to dense prediction: at input size 32 x 32"):
        prepare_job(annotator, images, tmp_path / "s", OPTIONS)


def test_by_default_five_classes_are_listed_or_all_of_fewer(images, tmp_path):
    """Guards: fewer than five classes ended with an error about topk, which nobody had set."""
    arguments = parse_args(ArgumentParser(), ["timm/NAME", "images", "out"])
    classes = write_classes(tmp_path, "ant\ncat\n")
    for options, topk in ((Options(topk=arguments.topk), 3), (Options(classes=classes), 2)):
        assert prepare_job(tiny_annotator(), images, tmp_path / "s", options).layout.topk == topk
    with pytest.raises(ValueError, match="num_classes=2, got topk=3"):
        prepare_job(tiny_annotator(), images, tmp_path / "s", Options(topk=3, classes=classes))


def test_image_folders_without_images_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such image folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="contains no image"):
        list_images(tmp_path)
    write_images(tmp_path, 1)
    (tmp_path / "dog").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Class folder .*dog contains no image"):
        list_images(tmp_path)


def test_image_names_that_are_not_utf8_are_named(images):
    with open(os.fsencode(images) + b"/ant/caf\xe9.png", "wb") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"'ant/caf\\udce9.png': the file name must be valid UTF-8"):
        list_images(images)


def test_folders_that_cannot_be_read_are_named(images, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match=r"The folder .*bee cannot be read: Permission denied"):
        list_images(images)


def mount_small_disk(folder, size="64k"):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")


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


def test_the_manifest_holds_the_settings_that_resuming_compares(images, tmp_path):
    annotator = tiny_annotator(crops=2, flip=True, amp=torch.bfloat16, channels_last=True)
    job = make(images, tmp_path / "s", annotator=annotator)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["num_maps"] == 15 and manifest["annotator"] == annotator.description
    assert manifest["plan"] == job.plan.fingerprint
    assert manifest["plan"].keys() == {"images", "images_per_shard", "keys_sha256"}
    assert manifest["preprocessing"] == {
        "input_hw": [32, 32],
        "interpolation": annotator.interpolation,
        "backend": annotator.backend,
        "mean": [120.0, 110, 100],
        "std": [60.0, 60, 60],
        "to_rgb": True,
        "crops": 2,
        "flip": True,
        "amp": "bfloat16",
    }


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


def test_a_store_with_a_tenth_of_other_images_is_not_that_of_the_annotator(images, tmp_path):
    """Guards: only the mean over all maps was compared."""
    make(images, tmp_path / "s")
    store = ScoreMapStore(tmp_path / "s")
    shutil.copyfile(images / "cat" / "4.png", images / "ant" / "3.png")
    by_key = compare_store(store, tiny_annotator(), images, list(store)).by_key
    worst, *others = by_key.items()
    assert worst[0] == "ant/3.png" and worst[1] > 0.01 and all(value < 1e-3 for _, value in others)


def test_maps_that_are_not_numbers_differ_and_a_missing_image_is_named(images, tmp_path):
    """Guards: NaN, as of an overflow in float16, is not larger than the tolerance."""
    make(images, tmp_path / "s")
    store, annotator = ScoreMapStore(tmp_path / "s"), tiny_annotator()
    torch.nn.init.constant_(annotator.dense.head.fc.bias, torch.nan)
    found = compare_store(store, annotator, images, list(store))
    assert min(found.by_key.values()) == found.probability_difference == np.inf
    (images / "bee" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"bee/1.png is missing"):
        compare_store(store, tiny_annotator(), images, list(store))


def test_the_output_inside_the_images_is_not_an_image_folder(images, tmp_path):
    for _ in range(2):
        make(images, images / "maps")
    assert len(ScoreMapStore(images / "maps")) == 15


def test_an_annotator_without_an_input_size_takes_the_size_of_all_images_or_asks_for_one(images, tmp_path):
    """Guards: the size of the first image was taken for all."""
    annotator = tiny_annotator()
    annotator.size_hw = None
    size_hw = cv2.imread(str(images / "cat" / "4.png")).shape[:2]
    cv2.imwrite(str(images / "cat" / "4.png"), np.zeros((7, 9, 3), np.uint8))
    with pytest.raises(ValueError, match=r"tiny: its config has no Resize .*cat/4.png of 7 x 9. Give --input-size"):
        make(images, tmp_path / "s", annotator=annotator)
    (images / "cat" / "4.png").unlink()
    make(images, tmp_path / "t", annotator=annotator)
    assert ScoreMapStore(tmp_path / "t").preprocessing["input_hw"] == list(size_hw)


def test_the_annotators_accuracy_is_not_called_that_of_pooled_maps(images, tmp_path, capsys):
    """Guards: generator and stats printed two measures under one name."""
    annotate_folder(tiny_annotator(), images, tmp_path / "s", OPTIONS, LocalQueue())
    assert "The annotator's own accuracy" in (text := capsys.readouterr().out) and "pooled maps" not in text


def write_classes(tmp_path, text):
    (tmp_path / "classes.txt").write_text(text)
    return tmp_path / "classes.txt"


@pytest.mark.parametrize("score_bits", [16, 8])
def test_maps_of_a_part_of_the_classes_are_the_softmax_over_the_chosen_logits(images, tmp_path, score_bits):
    options = Options(topk=2, workers=0, classes=write_classes(tmp_path, "cat\nant\n"), score_bits=score_bits)
    make(images, tmp_path / "s", options)
    store, annotator = ScoreMapStore(tmp_path / "s"), tiny_annotator()
    assert store.num_classes == 2 and store.verify() == [] and store.annotator["class_indices"] == [[2], [0]]
    score_map = store["ant/0.png"]
    image = annotator.resize((32, 32))(images / "ant/0.png")
    chosen = annotator.logits(torch.from_numpy(image).permute(2, 0, 1)[None])[0][..., [2, 0]].softmax(-1)
    found = np.zeros((8, 8, 2))
    np.put_along_axis(found, score_map.classes.astype(int), cell_probabilities(score_map, 2), -1)
    np.testing.assert_allclose(found, chosen, atol=1e-3 if score_bits == 16 else 1e-2)
    totals = summary(tmp_path / "s")
    assert totals["labelled"] == 10 and totals["top5"] == 10  # of two classes; the folder bee is not one


def test_classes_that_become_one_have_the_sum_of_their_probabilities(images, tmp_path):
    options = Options(topk=2, workers=0, classes=write_classes(tmp_path, "bee insect\ncat\nant insect\n"))
    job = make(images, tmp_path / "s", options)
    logits = tiny_annotator().logits(batch := torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8))
    expected = logits.softmax(-1)
    merged = torch.stack([expected[..., 0] + expected[..., 1], expected[..., 2]], -1)
    torch.testing.assert_close(job.annotator.logits(batch).softmax(-1), merged)
    assert ScoreMapStore(tmp_path / "s").annotator["class_names"] == ["insect", "cat"]


def test_a_store_of_other_classes_is_not_continued(images, tmp_path):
    make(images, tmp_path / "s", Options(topk=1, workers=0, classes=write_classes(tmp_path, "ant\nbee\n")))
    for text in ("bee\nant\n", "ant\ncat\n"):
        with pytest.raises(FileExistsError, match="class_indices"):
            make(images, tmp_path / "s", Options(topk=1, workers=0, classes=write_classes(tmp_path, text)))
    with pytest.raises(FileExistsError, match="num_classes"):
        make(images, tmp_path / "s", Options(topk=1, workers=0))


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
